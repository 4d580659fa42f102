"""Statistics as queries: the rows of all partitions of the log, summed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from tradewind.mail.v1.mail_service_pb2 import MailStats, StatsPeriod
from tradewind.mail.v1.mail_stats_pb2 import MailStatsRow

from services.ledger.archive import Row
from services.mail.domain import Refused
from services.mail.stats.counting import KEPT, SECONDS, add, partition_keys, row_key, stretch_of
from services.mail.stats.rollup import TABLE

MOST_ROWS: Final = 10_000
_PAGE: Final = 1000
_MOST_READ: Final = 500_000
_MOST_PARTITIONS: Final = 20_000
_AT_ONCE: Final = 64
_FIRST_DAY: Final = 1_735_689_600
"""The beginning of 2025: no statistics are older."""


class Rows(Protocol):
    """What is asked of the ledger."""

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        """Reads a page of rows."""


async def read_rows(
    store: Rows, tenant: str, dimension: int, period: int, start: int, end: int, value: str = "", table: str = TABLE
) -> list[MailStatsRow]:
    """Read the rows of periods that begin in [start, end), in seconds; at most about 10,000 sums' worth, the earliest.

    Raises:
        StoreUnavailable: they cannot be read.
        Refused: INVALID_FIELD, where half a million rows, or 20,000 partitions, would have to be looked at.
    """
    found: list[MailStatsRow] = []
    seen: set[tuple[int, str]] = set()
    wanted = _partitions(tenant, dimension, period, _clipped(period, start), end, value)
    if len(wanted) > _MOST_PARTITIONS:
        raise _too_much()
    for at in range(0, len(wanted), _AT_ONCE):
        some = wanted[at : at + _AT_ONCE]
        pages = await asyncio.gather(*(_read_partition(store, table, where, start, end) for where in some))
        for message in (MailStatsRow.FromString(row.value or b"") for page in pages for row in page):
            if not value or message.stats.value == value:
                seen.add((message.stats.period_start.seconds, message.stats.value))
                found.append(message)
        if len(seen) > MOST_ROWS:
            break
        if len(found) > _MOST_READ:
            raise _too_much()
    return found


def _clipped(period: int, start: int) -> int:
    """What is not kept any more need not be looked for, nor what was before any mail was counted."""
    which = StatsPeriod.ValueType(period)
    kept = KEPT.get(which)
    return max(start, _FIRST_DAY if kept is None else int(time.time()) - kept - SECONDS[which])


def _partitions(tenant: str, dimension: int, period: int, start: int, end: int, value: str) -> list[str]:
    """Name the partitions of a span of time, the earliest first; at most one more than may be read."""
    names: list[str] = []
    while start < end and len(names) <= _MOST_PARTITIONS:
        stretch = stretch_of(dimension, period, start)
        names += partition_keys(tenant, dimension, period, stretch, value)
        start = stretch.stop
    return names


async def _read_partition(store: Rows, table: str, where: str, start: int, end: int) -> list[Row]:
    found: list[Row] = []
    after, stop = row_key(max(start, 0))[:11], row_key(max(end, 0))[:11]
    while True:
        page = await store.rows(table, where, after=after, limit=_PAGE)
        found += (row for row in page if row.key < stop)
        if len(page) < _PAGE or page[-1].key >= stop:
            return found
        if len(found) > _MOST_READ:
            raise _too_much()
        after = page[-1].key


def _too_much() -> Refused:
    return Refused("INVALID_FIELD", "the span of time holds too many rows: ask for less of it", field="start_time")


def summed(rows: Iterable[MailStatsRow]) -> list[MailStats]:
    """Sum the partitions' rows; by period, then value."""
    sums: dict[tuple[int, str], MailStats] = {}
    for row in rows:
        place = (row.stats.period_start.seconds, row.stats.value)
        total = sums.get(place)
        if total is None:
            sums[place] = MailStats()
            sums[place].CopyFrom(row.stats)
        else:
            add(total, row.stats)
    return [sums[place] for place in sorted(sums)]
