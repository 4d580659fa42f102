"""The simulator's memory: what came, and how often each token and each call was met, in one SQLite file.

All that waits goes into one transaction in a thread of its own, so the loop never blocks and a flush to disk is shared; a call is
answered after its transaction only.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.push.v1 import push_gateway_service_pb2 as pb
from tradewind.push.v1 import push_inbox_service_pb2 as inbox_pb

from services.ledger.lane import Lane
from services.push_simulator.behaviour import Behaviour, behaviour_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pushed (
    place INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, notification_id TEXT NOT NULL, token TEXT NOT NULL,
    notification BLOB NOT NULL, at_us INTEGER NOT NULL, times INTEGER NOT NULL, UNIQUE (tenant, notification_id)
);
CREATE TABLE IF NOT EXISTS met (
    tenant TEXT NOT NULL, what TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (tenant, what, name)
) WITHOUT ROWID;
"""

_T = TypeVar("_T")
_Job = Callable[[sqlite3.Connection], Any]


class Inbox:
    """Make it with ``open`` inside a running event loop; ``close`` it at the end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Keep what comes in an open connection."""
        self._connection = connection
        self._lane: Lane[_Job] = Lane("push", self._work)

    @classmethod
    def open(cls, path: Path) -> Inbox:
        """Open the file, making it where it is missing. Raises OSError or sqlite3.Error where it cannot be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        return cls(connection)

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        await self._lane.close()
        self._connection.close()

    async def count(self, tenant: str, what: str, name: str) -> int:
        """Count that something was met, and give how often it was before."""
        return await self._do(lambda c: _count(c, tenant, what, name))

    async def take(self, tenant: str, notifications: Sequence[pb.Notification]) -> list[pb.PushOutcome.ValueType]:
        """Take notifications, each as its token wants it; gives what became of each."""
        return await self._do(lambda c: [_take(c, tenant, each) for each in notifications])

    async def list(self, tenant: str, token: str, after: int, limit: int) -> list[inbox_pb.Pushed]:
        """List what came for a tenant, or for one device of it, after a place."""

        def work(c: sqlite3.Connection) -> list[inbox_pb.Pushed]:
            rows = c.execute(
                "SELECT place, notification, at_us, times FROM pushed"
                " WHERE tenant = ? AND place > ? AND (? = '' OR token = ?) ORDER BY place LIMIT ?",
                (tenant, after, token, token, limit),
            )
            return [_shown(*row) for row in rows]

        return await self._do(work)

    async def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        result: _T = await self._lane.submit(work)
        return result

    def _work(self, jobs: Sequence[_Job]) -> Sequence[Any]:
        """Do all jobs in one transaction; a failed commit fails all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            results = [job(self._connection) for job in jobs]
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._connection.execute("ROLLBACK")
            raise
        return results


def _take(c: sqlite3.Connection, tenant: str, notification: pb.Notification) -> pb.PushOutcome.ValueType:
    token, name = notification.device_token, notification.notification_id
    known = c.execute(
        "UPDATE pushed SET times = times + 1 WHERE tenant = ? AND notification_id = ? RETURNING place", (tenant, name)
    ).fetchall()
    if known:
        return pb.PUSH_OUTCOME_DELIVERED
    behaviour: Behaviour = behaviour_of(token)
    if behaviour.invalid_after is not None:
        (delivered,) = c.execute(
            "SELECT count(*) FROM pushed WHERE tenant = ? AND token = ?", (tenant, token)
        ).fetchone()
        if delivered >= behaviour.invalid_after:
            return pb.PUSH_OUTCOME_TOKEN_INVALID
    if behaviour.later and _count(c, tenant, "later", name) < behaviour.later:
        return pb.PUSH_OUTCOME_RETRY_LATER
    c.execute(
        "INSERT INTO pushed (tenant, notification_id, token, notification, at_us, times) VALUES (?, ?, ?, ?, ?, 1)",
        (tenant, name, token, notification.SerializeToString(), time.time_ns() // 1000),
    )
    return pb.PUSH_OUTCOME_DELIVERED


def _count(c: sqlite3.Connection, tenant: str, what: str, name: str) -> int:
    row = c.execute(
        "INSERT INTO met VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count",
        (tenant, what, name),
    ).fetchone()
    return int(row[0]) - 1


def _shown(place: int, notification: bytes, at_us: int, times: int) -> inbox_pb.Pushed:
    at = Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1000)
    return inbox_pb.Pushed(
        place=place, notification=pb.Notification.FromString(notification), push_time=at, times=times
    )
