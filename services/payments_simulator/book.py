"""The simulator's memory: payments, refunds and how often each step was called, in one SQLite file.

All that waits goes into one transaction in a thread of its own, so the loop never blocks and a flush to disk is shared; a step is
answered after its transaction only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from services.ledger.lane import Lane
from services.payments_simulator.payments import Payment, State
from services.runtime.errors import Refused

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    tenant TEXT NOT NULL, payment_key TEXT NOT NULL, state INTEGER NOT NULL, currency_code TEXT NOT NULL,
    minor_units INTEGER NOT NULL, payment_method TEXT NOT NULL, refunded INTEGER NOT NULL, PRIMARY KEY (tenant, payment_key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refunds (
    tenant TEXT NOT NULL, payment_key TEXT NOT NULL, refund_key TEXT NOT NULL, minor_units INTEGER NOT NULL,
    PRIMARY KEY (tenant, payment_key, refund_key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    tenant TEXT NOT NULL, payment_key TEXT NOT NULL, step TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (tenant, payment_key, step)
) WITHOUT ROWID;
"""

_T = TypeVar("_T")
_Job = Callable[[sqlite3.Connection], Any]
Rule = Callable[[Payment | None], Payment]
"""A step: what it makes of the payment that is known, or raises Refused."""


class Book:
    """Make it with ``open`` inside a running event loop; ``close`` it at the end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Keep payments in an open connection."""
        self._connection = connection
        self._lane: Lane[_Job] = Lane("payments", self._work)

    @classmethod
    def open(cls, path: Path) -> Book:
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

    async def look_up(self, tenant: str, key: str) -> Payment | None:
        """Give a payment; None where none was ever made."""
        return await self._do(lambda c: _read(c, tenant, key))

    async def step(self, tenant: str, key: str, rule: Rule) -> Payment:
        """Apply a rule to a payment and keep what it makes. Raises Refused as the rule does."""

        def work(c: sqlite3.Connection) -> Payment:
            known = _read(c, tenant, key)
            after = rule(known)
            if after != known:
                _write(c, tenant, after)
            return after

        return await self._do(work)

    async def refund(
        self, tenant: str, key: str, refund_key: str, minor_units: int, rule: Callable[..., Payment]
    ) -> Payment:
        """Apply ``rule(payment, refunded under this key before)`` and keep the refund. Raises Refused as the rule does."""

        def work(c: sqlite3.Connection) -> Payment:
            place = (tenant, key, refund_key)
            row = c.execute(
                "SELECT minor_units FROM refunds WHERE tenant = ? AND payment_key = ? AND refund_key = ?", place
            ).fetchone()
            after: Payment = rule(_read(c, tenant, key), row[0] if row else None)
            if row is None:
                c.execute("INSERT INTO refunds VALUES (?, ?, ?, ?)", (*place, minor_units))
                _write(c, tenant, after)
            return after

        return await self._do(work)

    async def count_call(self, tenant: str, key: str, step: str) -> int:
        """Count a call of a step, and give how many there were before."""

        def work(c: sqlite3.Connection) -> int:
            row = c.execute(
                "INSERT INTO calls VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count",
                (tenant, key, step),
            ).fetchone()
            return int(row[0]) - 1

        return await self._do(work)

    async def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        result: _T = await self._lane.submit(work)
        return result

    def _work(self, jobs: Sequence[_Job]) -> Sequence[Any]:
        """Do all jobs in one transaction; a refused one changes nothing, a failed commit fails all."""
        results: list[Any] = []
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                try:
                    results.append(job(self._connection))
                except Refused as refused:
                    results.append(refused)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._connection.execute("ROLLBACK")
            raise
        return results


def _read(c: sqlite3.Connection, tenant: str, key: str) -> Payment | None:
    row = c.execute(
        "SELECT state, currency_code, minor_units, payment_method, refunded FROM payments"
        " WHERE tenant = ? AND payment_key = ?",
        (tenant, key),
    ).fetchone()
    return None if row is None else Payment(key, State(row[0]), *row[1:])


def _write(c: sqlite3.Connection, tenant: str, payment: Payment) -> None:
    c.execute(
        "INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET state = excluded.state, refunded = excluded.refunded",
        (
            tenant,
            payment.key,
            int(payment.state),
            payment.currency_code,
            payment.minor_units,
            payment.payment_method,
            payment.refunded,
        ),
    )
