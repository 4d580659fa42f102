"""What is SQLite's own: one file that can fail, and the lanes before it."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.ledger.archive import Head, Position, Row, Snapshot
from services.ledger.errors import StoreUnavailable
from services.ledger.lane import Lane
from services.ledger.sqlite import SqliteArchive
from tests.contract.stores import KEY, write


async def test_no_archive_is_refused_at_opening(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"this is no database, but it is long enough to be looked at" * 100)
    with pytest.raises(StoreUnavailable):
        SqliteArchive.open(tmp_path / "a.db")


async def test_a_file_that_is_locked_refuses_and_recovers(tmp_path: Path) -> None:
    archive = SqliteArchive.open(tmp_path / "a.db")
    archive._writer_connection.execute("PRAGMA busy_timeout=50")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await archive.store(write(1, 1, 100))
    assert await archive.head(KEY) is None  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    await archive.store(write(1, 1, 100))
    assert await archive.head(KEY) == Head(1, 100)
    await archive.close()


async def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    archive = SqliteArchive.open(tmp_path / "a.db")
    c = archive._writer_connection
    pages = c.execute("PRAGMA page_count").fetchone()[0]
    c.execute(f"PRAGMA max_page_count={pages + 20}")
    with pytest.raises(StoreUnavailable):
        await archive.store(write(1, 1, 100, data=b"x" * 1_000_000))
    await archive.store(write(1, 1, 100, data=b"small"))
    c.execute("PRAGMA max_page_count=100000")
    await archive.store(write(2, 1, 101, data=b"x" * 1_000_000))
    assert [entry.seq for entry in (await archive.load(KEY)).entries] == [100, 101]
    await archive.close()


async def test_a_read_only_file_refuses_and_still_reads(tmp_path: Path) -> None:
    archive = SqliteArchive.open(tmp_path / "a.db")
    await archive.store(write(1, 1, 100))
    archive._writer_connection.execute("PRAGMA query_only=ON")
    for attempt in (
        archive.store(write(2, 1, 101)),
        archive.put_rows([Row("t", "p", "k", b"v")]),
        archive.put_snapshot(KEY, Snapshot(1, 100, b"")),
        archive.put_position("r", "s", 0, Position(1, 1)),
        archive.register_epoch("chat", 1),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt
    assert await archive.head(KEY) == Head(1, 100)
    archive._writer_connection.execute("PRAGMA query_only=OFF")
    await archive.store(write(2, 1, 101))
    await archive.close()


async def test_a_value_it_cannot_hold_fails_alone(tmp_path: Path) -> None:
    archive = SqliteArchive.open(tmp_path / "a.db")
    answers = await asyncio.gather(
        archive.store(write(1, 1, 100)),
        archive.store(write(1, 1, 1 << 70, key="acme/tally/too far")),
        archive.put_rows([Row("t", "p", "\ud800", b"no text")]),
        archive.store(write(1, 1, 101, key="acme/tally/other")),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == [
        "NoneType", "StoreUnavailable", "StoreUnavailable", "NoneType",
    ]  # fmt: skip
    await archive.store(write(2, 1, 102))
    assert await archive.head(KEY) == Head(2, 102)
    await archive.close()


async def test_a_full_lane_refuses_at_once_and_recovers() -> None:
    gate: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def work(jobs: Sequence[int]) -> Sequence[int]:
        asyncio.run_coroutine_threadsafe(gate.get(), loop).result()
        return [job * 2 for job in jobs]

    lane: Lane[int] = Lane("test", work, batch=2, capacity=4)
    first = lane.submit(1)
    while lane._jobs:
        await asyncio.sleep(0.001)
    waiting = [lane.submit(n) for n in range(2, 6)]
    with pytest.raises(StoreUnavailable):
        lane.submit(6)
    for _ in range(4):
        gate.put_nowait(None)
    assert await asyncio.gather(first, *waiting) == [2, 4, 6, 8, 10]
    last = lane.submit(7)
    assert await last == 14
    await lane.close()
    with pytest.raises(StoreUnavailable):
        lane.submit(8)


async def test_what_is_deleted_is_in_no_file_once_it_was_scrubbed(tmp_path: Path) -> None:
    archive = SqliteArchive.open(tmp_path / "a.db")
    secret, other = b"palimpsest" * 40, b"remains" * 40
    rows = [Row("t", "p", f"{key:04}", secret + other, 1) for key in range(200)]
    await archive.put_rows(rows)
    assert secret in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    await archive.put_rows([Row("t", "p", row.key, other if row.key > "0100" else None, 2) for row in rows])
    await archive.scrub()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"palimpsest" not in kept
    assert other in kept
    await archive.close()


async def test_its_files_are_their_owners_alone(tmp_path: Path) -> None:
    archive = SqliteArchive.open(tmp_path / "made" / "a.db")
    await archive.put_rows([Row("t", "p", "k", b"v", 1)])
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "made").iterdir()}
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}
    await archive.close()
