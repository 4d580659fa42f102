"""The command that makes a CQL store ready: again, by several at once, and not with another text under an old number."""

import asyncio
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from services.migrate.apply import apply
from services.migrate.files import BadMigrations, read
from services.runtime.cql import CqlSettings, connect_once
from tests.shared_server import CqlServer

ROOT = Path(__file__).parents[2]


def settings(server: CqlServer) -> CqlSettings:
    return CqlSettings(server.contact_points, server.local_dc, f"m{uuid.uuid4().hex[:12]}")


async def command(server: CqlServer, *keyspaces: str, **more: str) -> tuple[int, str, str]:
    """Runs it; exit code, standard output, standard error."""
    said: Mapping[str, str] = {
        "TRADEWIND_CQL_CONTACT_POINTS": ",".join(server.contact_points),
        "TRADEWIND_CQL_LOCAL_DC": server.local_dc,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")]),
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.migrate", *keyspaces, cwd=ROOT, env={**os.environ, **said},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def asked(where: CqlSettings, statement: str) -> Sequence[tuple[object, ...]]:
    cluster, session = connect_once(where)
    try:
        return list(session.execute(statement.replace("{keyspace}", where.keyspace)))
    finally:
        cluster.shutdown()


async def test_it_may_be_run_again_and_by_several_at_once(cql_server: CqlServer) -> None:
    where = settings(cql_server)
    answers = await asyncio.gather(*(command(cql_server, where.keyspace) for _ in range(3)))
    assert [code for code, _, _ in answers] == [0, 0, 0]
    assert await command(cql_server, where.keyspace) == (0, f"{where.keyspace}: up to date\n", "")
    recorded = await asyncio.to_thread(asked, where, "SELECT number, name, sha256 FROM {keyspace}.migrations")
    assert sorted(recorded) == [(m.number, m.name, m.sha256) for m in read()]
    tables = f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{where.keyspace}'"  # noqa: S608
    found = {line[0] for line in await asyncio.to_thread(asked, where, tables)}
    assert found >= {"history", "rows", "migrations"}


async def test_a_migration_that_changed_since_it_was_applied_is_refused(cql_server: CqlServer, tmp_path: Path) -> None:
    where = settings(cql_server)
    first, second = tmp_path / "0001_one.cql", tmp_path / "0002_two.cql"
    first.write_text("CREATE TABLE IF NOT EXISTS {keyspace}.one (a int PRIMARY KEY);")
    assert await asyncio.to_thread(apply, where, read(tmp_path)) == 1
    second.write_text("CREATE TABLE IF NOT EXISTS {keyspace}.two (a int PRIMARY KEY);")
    told: list[str] = []
    assert await asyncio.to_thread(apply, where, read(tmp_path), tell=told.append) == 1
    assert told == [f"{where.keyspace}: applied 0002_two.cql"]
    first.write_text("CREATE TABLE IF NOT EXISTS {keyspace}.one (a text PRIMARY KEY);")
    with pytest.raises(BadMigrations, match=r"0001_one\.cql: changed"):
        await asyncio.to_thread(apply, where, read(tmp_path))


async def test_what_the_store_does_not_understand_is_said_in_one_line(cql_server: CqlServer, tmp_path: Path) -> None:
    where = settings(cql_server)
    (tmp_path / "0001_one.cql").write_text("CREATE TABEL {keyspace}.one (a int PRIMARY KEY);")
    with pytest.raises(BadMigrations, match=r"0001_one\.cql: "):
        await asyncio.to_thread(apply, where, read(tmp_path))


async def test_settings_that_do_not_fit_are_said_in_one_line_each(cql_server: CqlServer) -> None:
    code, _, said = await command(cql_server, TRADEWIND_CQL_KEYSPACE="Not One", TRADEWIND_CQL_REPLICATION="many")
    assert code == 2
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "TRADEWIND_CQL_KEYSPACE", "TRADEWIND_CQL_REPLICATION",
    ]  # fmt: skip
