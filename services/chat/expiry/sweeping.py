"""Tells of messages whose time is over, some at once, and when to look again."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.chat import commands, domain, marks
from services.chat.lookups import Lookups
from services.ledger.archive import Row
from services.ledger.decider import Receipt, Request
from services.ledger.errors import DeadlineExceeded
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger

_MOST_BATCHES: Final = 50
"""After so many the timer comes again, so that one conversation does not keep all others waiting."""


_CLOCKS_APART_US: Final = 3_600_000_000
"""A message may end so much before the time at which to look, where the clocks of processes are apart."""


class NotNow(Exception):
    """What became of a step is not known: the timer comes again."""

    reason = "DEADLINE_EXCEEDED"
    retry_after = 1.0


class _Found(NamedTuple):
    """The rows of messages that have ended, and when the first of all others does (0: there is none)."""

    rows: list[Row]
    rest_us: int


class Sweeping:
    """Ends messages."""

    def __init__(self, ledger: Ledger, lookups: Lookups) -> None:
        """End messages of the conversations that ``ledger`` holds."""
        self._ledger = ledger
        self._lookups = lookups

    async def wake(self, aggregate: AggregateId, _timer: str) -> None:
        """Tell of what has ended. Raises LedgerError, NotNow; the timer then comes again."""
        for _ in range(_MOST_BATCHES):
            view = await self._ledger.read(aggregate)
            next_us, now = view.state.expiring.next_us, commands.now_us()
            if not next_us or next_us > now:
                break
            try:
                await self._sweep(aggregate, view.version, next_us, now)
            except DeadlineExceeded as error:
                raise NotNow from error
        await self._ledger.arm(aggregate)

    async def _sweep(self, aggregate: AggregateId, version: int, next_us: int, at_us: int) -> None:
        found = await self._find(aggregate, next_us, at_us)
        due = tuple(_due(row) for row in found.rows)
        # Two wake-ups that look at the same version tell of it once.
        scope = (aggregate.key, "expire", str(version))
        named = Request(derive_request_id(next_us, *scope), fingerprint(*scope), None)

        async def work(known: domain.Known) -> Receipt:
            command = domain.ExpireMessages(at_us, due, found.rest_us, version, known)
            return await self._ledger.execute(aggregate, command, named)

        about = {each.version for each in due} | {each.thread_root for each in due if each.thread_root}
        await self._lookups.informed(aggregate, tuple(sorted(about)), work)
        # The event takes its own rows with it. What was deleted before is in none, and its row is of no more use.
        await self._ledger.put_rows([Row(row.table, row.partition, row.key, None, row.seq + 1) for row in found.rows])

    async def _find(self, aggregate: AggregateId, next_us: int, at_us: int) -> _Found:
        where, most = marks.partition(aggregate), domain.MOST_AT_ONCE
        # What lies before was told long ago, and a store may still be wading through what is left of its rows.
        after = marks.key(max(0, next_us - _CLOCKS_APART_US))
        rows = await self._ledger.rows(marks.EXPIRING, where, after=after, limit=most + 1)
        ended = [row for row in rows[:most] if marks.version_of(row.key) <= at_us]
        return _Found(ended, marks.version_of(rows[len(ended)].key) if len(rows) > len(ended) else 0)


def _due(row: Row) -> domain.Due:
    root, _, sender = (row.value or b"").decode().partition("/")
    # Its key is when it ends, and its version.
    return domain.Due(int(row.key[16:32], 16), sender, int(root), int(row.key[:16], 16))
