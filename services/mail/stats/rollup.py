"""Keeps the rows of one partition of the log: reads it in order, counts, and writes absolute values with the place they are true for.

A row's value at a place is a function of the log up to there. So it is harmless that entries are read again after a crash (a row
skips what is at or below its own place), and that two processes write the same row for a while (the higher place wins, and for
equal places both wrote the same).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
from tradewind.mail.v1 import mail_pb2
from tradewind.mail.v1.mail_stats_pb2 import MailStatsRow

from services.ledger.archive import Row
from services.ledger.decider import Delivered
from services.ledger.lasting import patiently
from services.ledger.tail import Tail
from services.mail.kinds import KIND
from services.mail.stats.calendar import Calendar, Store
from services.mail.stats.counting import (
    COUNTS,
    Place,
    counts_of,
    indexes,
    is_kept,
    partition_key,
    places,
    row_key,
    to_row,
)

TABLE: Final = "mail_counts"
ROLE: Final = "stats"
_FULL_PAGE: Final = 200
_LOADS_AT_A_TIME: Final = 64
_log = structlog.get_logger(__name__)

Changed = Callable[[str, Sequence[MailStatsRow]], Awaitable[None]]
"""Takes a tenant and its rows that changed, once they are written."""


@dataclass(slots=True)
class _Kept:
    """A row in memory: its counts, and the place up to which the written row was true."""

    counts: list[int]
    seq: int
    dirty: bool = field(default=False)


class Rollup:
    """The rows of one partition."""

    def __init__(self, store: Store, partition: int, most_rows: int, table: str = TABLE) -> None:
        """Keep at most about ``most_rows`` in memory."""
        self._store = store
        self._partition = partition
        self._most = most_rows
        self._table = table
        self.calendar = Calendar(store, partition, table)
        self._rows: OrderedDict[Place, _Kept] = OrderedDict()

    async def add(self, entries: Iterable[Delivered]) -> None:
        """Count entries, in any order within one stretch.

        Raises:
            StoreUnavailable: nothing was counted.
        """
        wanted: list[tuple[Place, int, tuple[int, ...]]] = []
        now = int(time.time())
        for entry in entries:
            if entry.aggregate.kind != KIND:
                continue
            for recorded in entry.events:
                event = mail_pb2.MailEvent.FromString(recorded.payload)
                which = indexes(event)
                if which:
                    counted = places(entry.aggregate.tenant, event)
                    wanted.extend((p, entry.seq, which) for p in counted if is_kept(p.period, p.start, now))
        await self._load({place for place, _, _ in wanted})
        for place, seq, which in wanted:
            kept = self._rows[place]
            if seq > kept.seq:
                for index in which:
                    kept.counts[index] += 1
                kept.dirty = True

    async def flush(self, upto: int) -> dict[str, list[MailStatsRow]]:
        """Write the rows that changed, true for everything up to ``upto``; gives them by tenant.

        Raises:
            StoreUnavailable: not written; call again.
        """
        changed = [(place, kept) for place, kept in self._rows.items() if kept.dirty]
        by_tenant: dict[str, list[MailStatsRow]] = {}
        rows = []
        for place, kept in changed:
            row = to_row(place, self._partition, kept.counts, upto)
            by_tenant.setdefault(place.tenant, []).append(row)
            key = row_key(place.start, self._partition, place.value)
            rows.append(Row(self._table, partition_key(place), key, row.SerializeToString(), upto))
        if rows:
            # What is to be let go of is noted first, so that nothing is kept for ever by a crash between the two.
            await self.calendar.note(place for place, _ in changed)
            await self._store.put_rows(rows)
        for place, kept in changed:
            kept.seq, kept.dirty = upto, False
            self._rows.move_to_end(place)
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)
        return by_tenant

    async def _load(self, wanted: set[Place]) -> None:
        missing = [place for place in wanted if place not in self._rows]
        loaded: list[tuple[Place, _Kept]] = []
        for at in range(0, len(missing), _LOADS_AT_A_TIME):
            some = missing[at : at + _LOADS_AT_A_TIME]
            loaded += zip(some, await asyncio.gather(*map(self._read, some)), strict=True)
        self._rows.update(loaded)

    async def _read(self, place: Place) -> _Kept:
        row = await self._store.row(
            self._table, partition_key(place), row_key(place.start, self._partition, place.value)
        )
        if row is None or row.value is None:
            return _Kept([0] * len(COUNTS), 0)
        message = MailStatsRow.FromString(row.value)
        return _Kept(counts_of(message.stats), int(message.seq))


async def keep(tail: Tail, rollup: Rollup, every: float, changed: Changed | None = None) -> None:
    """Keep a partition's rows up to date until cancelled: written at most once in ``every`` seconds while little happens."""
    async with aclosing(tail.pages()) as pages:
        async for page in pages:
            await patiently("statistics_wait", partial(rollup.add, page.entries))
            if not page.upto:
                continue
            by_tenant = await patiently("statistics_wait", partial(rollup.flush, page.upto))
            await patiently("statistics_wait", partial(tail.keep, page.upto))
            if changed is not None:
                for tenant, rows in by_tenant.items():
                    await changed(tenant, rows)
            if len(page.entries) < _FULL_PAGE:
                await asyncio.sleep(every)
