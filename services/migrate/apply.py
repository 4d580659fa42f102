"""Applying migrations to a keyspace: again and again, or by two at once, with the same end.

Every statement says IF NOT EXISTS, and what was applied is written down after it was. Nothing is locked: all who apply ask the same node,
which does one change of the schema after the other; two nodes asked at once could each make a table of their own under one name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cassandra import ConsistencyLevel, DriverException, RequestExecutionException, RequestValidationException
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import ErrorMessage
from cassandra.query import SimpleStatement

from services.migrate.files import BadMigrations, Migration
from services.runtime.cql import CqlFailed, CqlSettings, connect_once

_STATEMENT_S: Final = 60.0
_WAIT_S: Final = 0.5
_AGREE_S: Final = 30.0
_AGREE_POLL_S: Final = 0.1
_VERSION: Final = "SELECT schema_version FROM system.local"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS {keyspace}.migrations (number int PRIMARY KEY, name text, sha256 text, applied_at timestamp)"
_READ: Final = "SELECT number, sha256 FROM {keyspace}.migrations"
_RECORD: Final = (
    "INSERT INTO {keyspace}.migrations (number, name, sha256, applied_at) VALUES (%s, %s, %s, toTimestamp(now()))"
)
_COPIES: Final = re.compile(r"([\w.-]+):(\d+)")


def apply(
    settings: CqlSettings,
    migrations: Sequence[Migration],
    replication: str = "1",
    *,
    patience: float = 60.0,
    tell: Callable[[str], None] = lambda line: None,
) -> int:
    """Makes the keyspace where it is missing and applies what it lacks; blocks. Answers how many migrations were applied.

    Args:
        settings: where the store is; `keyspace` is the one made ready.
        migrations: all there are.
        replication: copies, as the setting `cql_replication`; an existing keyspace keeps what it has.
        patience: seconds to wait for a store that does not answer, and to try again what it did not do.
        tell: called with a line for each migration applied.

    Raises:
        BadMigrations: a migration that was applied has changed since, or the store does not understand one.
        CqlFailed: the store did not do it in time.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return _try(settings, migrations, replication, tell)
        except (CqlFailed, DriverException, RequestExecutionException, NoHostAvailable) as error:
            if time.monotonic() > until:
                reason = str(error) if isinstance(error, CqlFailed) else type(error).__name__
                raise CqlFailed(f"the migrations were not applied: {reason}") from error
        time.sleep(_WAIT_S)


def replicated(replication: str) -> str:
    """The setting as CQL: a number of copies anywhere, or copies by data centre."""
    if replication.isdecimal():
        return f"{{'class': 'SimpleStrategy', 'replication_factor': {int(replication)}}}"
    copies = ", ".join(f"'{name}': {number}" for name, number in _COPIES.findall(replication))
    return f"{{'class': 'NetworkTopologyStrategy', {copies}}}"


def _try(settings: CqlSettings, migrations: Sequence[Migration], replication: str, tell: Callable[[str], None]) -> int:
    cluster, session = connect_once(settings)
    try:
        node = _Node(cluster, session, settings.keyspace)
        node.change(f"CREATE KEYSPACE IF NOT EXISTS {{keyspace}} WITH replication = {replicated(replication)}")
        node.change(_TABLE)
        node.agree()
        applied = dict(node.ask(_READ))
        changed = [m.name for m in migrations if applied.get(m.number, m.sha256) != m.sha256]
        if changed:
            raise BadMigrations(f"{', '.join(changed)}: changed since it was applied to {settings.keyspace}")
        missing = [migration for migration in migrations if migration.number not in applied]
        for migration in missing:
            for statement in migration.statements:
                try:
                    node.change(statement)
                except (RequestValidationException, ErrorMessage) as error:
                    raise BadMigrations(f"{migration.name}: {' '.join(str(error).split())[:300]}") from error
            node.agree()
            node.ask(_RECORD, (migration.number, migration.name, migration.sha256))
            tell(f"{settings.keyspace}: applied {migration.name}")
        return len(missing)
    finally:
        cluster.shutdown()


class _Node:
    """The one node that changes schemas: that with the lowest id of those in the data centre that are up."""

    def __init__(self, cluster: Any, session: Any, keyspace: str) -> None:
        self._cluster = cluster
        cluster.max_schema_agreement_wait = 0  # between changes on one node there is nothing to wait for
        self._session = session
        self._keyspace = keyspace
        pools = session.get_pool_state()
        self._host = min(pools, key=lambda host: str(host.host_id), default=None)

    def change(self, statement: str) -> None:
        """Runs a statement that changes the schema."""
        self._session.execute_async(self._text(statement), timeout=_STATEMENT_S, host=self._host).result()

    def agree(self) -> None:
        """Waits until all nodes of the data centre that are up know of the changes."""
        until = time.monotonic() + _AGREE_S
        while True:
            versions = set()
            for host in self._session.get_pool_state():
                told = self._session.execute_async(_VERSION, timeout=_STATEMENT_S, host=host).result()
                versions |= {line[0] for line in told}
            if len(versions) == 1:
                return
            if time.monotonic() > until:
                raise CqlFailed("the nodes do not agree on the schema")
            time.sleep(_AGREE_POLL_S)

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Runs any other statement, on a quorum."""
        return list(self._session.execute(self._text(statement), values or None, timeout=_STATEMENT_S))

    def _text(self, statement: str) -> SimpleStatement:
        text = statement.replace("{keyspace}", self._keyspace)
        return SimpleStatement(text, consistency_level=ConsistencyLevel.LOCAL_QUORUM)
