"""Keyspaces of a CQL server for tests: made once, emptied and used again, because a table takes a tenth of a second to make."""

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.ledger.cql import CqlArchive
from services.migrate.apply import apply
from services.migrate.files import read
from services.runtime.cql import CqlSettings, connect_once
from tests.shared_server import CqlServer

SLICED = {"sliced": 2}
"""The read models of tests that are cut into slices."""
BUCKET_BYTES = 64 << 10
"""Small enough for histories of some dozen entries to go on from bucket to bucket."""


class Keyspaces:
    """The keyspaces that one worker of a test run has on a server.

    Args:
        server: with room for more.
    """

    def __init__(self, server: CqlServer) -> None:
        self._server = server
        self._free: list[str] = []
        self._taken: dict[Path, str] = {}
        self._connected: tuple[Any, Any] | None = None

    def settings(self, keyspace: str, **changes: Any) -> CqlSettings:
        """How to reach one of them, with more patience than a service has: a test machine may be busy."""
        return CqlSettings(self._server.contact_points, self._server.local_dc, keyspace, **{"timeout": 60.0, **changes})

    async def open(self, folder: Path, sliced: Mapping[str, int] | None = None) -> CqlArchive:
        """The archive that this folder stands for; an empty one the first time."""
        keyspace = await asyncio.to_thread(self.take, folder)
        return await CqlArchive.open(
            self.settings(keyspace), sliced=SLICED if sliced is None else sliced, patience=60.0
        )

    def take(self, folder: Path) -> str:
        """The keyspace that this folder stands for; the first time an empty one with all tables. Blocks."""
        keyspace = self._taken.get(folder)
        if keyspace is None:
            keyspace = self._taken[folder] = self._emptied() if self._free else self._made()
        return keyspace

    def give_back(self) -> None:
        """Nobody uses those that folders stand for any more."""
        self._free += self._taken.values()
        self._taken.clear()

    def close(self) -> None:
        """Lets go of the server."""
        if self._connected is not None:
            self._connected[0].shutdown()

    def _made(self) -> str:
        keyspace = f"t{uuid.uuid4().hex[:12]}"
        apply(self.settings(keyspace), read(), str(self._server.replication))
        return keyspace

    def _emptied(self) -> str:
        keyspace = self._free.pop()
        if self._connected is None:
            self._connected = connect_once(self.settings(keyspace))
        session = self._connected[1]
        tables = session.execute("SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (keyspace,))
        for table in [line[0] for line in tables if line[0] != "migrations"]:
            if list(session.execute(f"SELECT * FROM {keyspace}.{table} LIMIT 1")):  # noqa: S608 - names of our own
                session.execute(f"TRUNCATE {keyspace}.{table}", timeout=60.0)
        return keyspace
