"""Statistics as queries: the rows of all partitions, summed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from tradewind.mail.v1.mail_service_pb2 import MailStats
from tradewind.mail.v1.mail_stats_pb2 import MailStatsRow

from services.ledger.archive import Row
from services.mail.domain import Refused
from services.mail.stats.counting import add, partition_key, row_key
from services.mail.stats.rollup import TABLE

MOST_ROWS: Final = 10_000
_PAGE: Final = 1000
_MOST_PAGES: Final = 500


class Rows(Protocol):
    """What is asked of the ledger."""

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        """Reads a page of rows."""


async def read_rows(
    store: Rows, tenant: str, dimension: int, period: int, start: int, end: int, value: str = "", table: str = TABLE
) -> list[MailStatsRow]:
    """Read the rows of all partitions with periods that begin in [start, end), in seconds; at most 10,000 sums' worth.

    Raises:
        StoreUnavailable: they cannot be read.
        Refused: INVALID_FIELD, where half a million rows would have to be looked at.
    """
    found: list[MailStatsRow] = []
    seen: set[tuple[int, str]] = set()
    after, stop = row_key(start)[:11], row_key(max(end, 0))[:11]
    where = partition_key(tenant, dimension, period)
    for _ in range(_MOST_PAGES):
        page = await store.rows(table, where, after=after, limit=_PAGE)
        for row in page:
            if row.key >= stop:
                return found
            message = MailStatsRow.FromString(row.value or b"")
            if value and message.stats.value != value:
                continue
            seen.add((message.stats.period_start.seconds, message.stats.value))
            if len(seen) > MOST_ROWS:
                return found
            found.append(message)
        if len(page) < _PAGE:
            return found
        after = page[-1].key
    raise Refused("INVALID_FIELD", "the span of time holds too many rows: ask for less of it", field="start_time")


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
