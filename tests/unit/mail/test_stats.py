"""Where counts stand, and what is let go of when."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tradewind.mail.v1 import mail_service_pb2 as pb

from services.ledger.archive import Row
from services.mail.stats.calendar import Calendar
from services.mail.stats.counting import (
    DOMAIN,
    KEPT,
    SECONDS,
    TENANT,
    WIDE,
    Place,
    is_kept,
    partition_key,
    partition_keys,
    row_key,
    stretch_of,
)
from services.mail.stats.reading import read_rows, summed

HOUR, DAY = 3600, 86_400
NOW = 1_790_000_000
PERIODS = st.sampled_from(sorted(SECONDS))
DIMENSIONS = st.sampled_from([TENANT, DOMAIN])


class Shelf:
    """Rows in memory, as a store keeps them: of two with one key the higher sequence wins."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], dict[str, Row]] = {}

    async def row(self, table: str, partition: str, key: str) -> Row | None:
        found = self.kept.get((table, partition), {}).get(key)
        return found if found is not None and found.value is not None else None

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        here = [row for row in self.kept.get((table, partition), {}).values() if row.value is not None]
        found = sorted((row for row in here if after is None or row.key > after), key=lambda row: row.key)
        return found[:limit]

    async def put_rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            here = self.kept.setdefault((row.table, row.partition), {})
            if row.key not in here or here[row.key].seq < row.seq:
                here[row.key] = row

    def all(self, table: str) -> list[Row]:
        """Give what a table holds."""
        return [
            r for (name, _), here in self.kept.items() if name == table for r in here.values() if r.value is not None
        ]


@given(dimension=DIMENSIONS, period=PERIODS, start=st.integers(0, 2**33), value=st.text(max_size=20))
def test_a_row_is_found_where_it_is_looked_for(dimension: int, period: int, start: int, value: str) -> None:
    start -= start % SECONDS[period]  # type: ignore[index]
    where = partition_key(Place("acme", dimension, value, period, start))
    stretch = stretch_of(dimension, period, start)
    assert start in stretch
    assert stretch.start % len(stretch) == 0
    assert where in partition_keys("acme", dimension, period, stretch)
    assert partition_keys("acme", dimension, period, stretch, value or "x") != []
    if value:
        assert partition_keys("acme", dimension, period, stretch, value) == [where]


def test_wide_dimensions_are_spread_and_narrow_ones_are_not() -> None:
    stretch = stretch_of(DOMAIN, pb.STATS_PERIOD_MINUTE, NOW)
    assert len(set(partition_keys("acme", DOMAIN, pb.STATS_PERIOD_MINUTE, stretch))) == 16
    assert TENANT not in WIDE
    assert len(partition_keys("acme", TENANT, pb.STATS_PERIOD_MINUTE, stretch)) == 1


def test_days_are_kept_for_ever() -> None:
    assert is_kept(pb.STATS_PERIOD_DAY, 0, NOW)
    assert not is_kept(pb.STATS_PERIOD_MINUTE, NOW - 49 * HOUR, NOW)
    assert is_kept(pb.STATS_PERIOD_MINUTE, NOW - 47 * HOUR, NOW)
    assert not is_kept(pb.STATS_PERIOD_HOUR, NOW - 61 * DAY, NOW)
    assert is_kept(pb.STATS_PERIOD_HOUR, NOW - 59 * DAY, NOW)


async def write(shelf: Shelf, calendar: Calendar, place: Place, partition: int) -> None:
    await calendar.note([place])
    key = row_key(place.start, partition, place.value)
    await shelf.put_rows([Row("mail_counts", partition_key(place), key, b"counts", seq=NOW * 1_000_000)])


def left(shelf: Shelf) -> set[tuple[str, str]]:
    return {(row.partition, row.key) for row in shelf.all("mail_counts")}


async def test_what_is_past_goes_and_all_else_stays() -> None:
    """Two partitions of the log count side by side, and each lets go of its own rows."""
    shelf = Shelf()
    calendars = [Calendar(shelf, partition, "mail_counts") for partition in range(2)]
    for calendar in calendars:
        await calendar.clear(NOW)
    for number in range(300):
        for partition, calendar in enumerate(calendars):
            for period in sorted(SECONDS):
                at = NOW + number * 600
                start = at - at % SECONDS[period]
                for dimension, value in ((TENANT, ""), (DOMAIN, f"d{number}.example")):
                    await write(shelf, calendar, Place("acme", dimension, value, period, start), partition)
    everything = left(shelf)
    later = NOW + KEPT[pb.STATS_PERIOD_MINUTE] + 10 * HOUR
    await calendars[0].clear(later)
    gone = everything - left(shelf)
    assert gone
    assert {key[11:15] for _, key in gone} == {"/000"}
    assert {partition.split("/")[2] for partition, _ in gone} == {str(pb.STATS_PERIOD_MINUTE)}
    assert max(int(key[:11]) for _, key in gone) < later - KEPT[pb.STATS_PERIOD_MINUTE]
    await calendars[1].clear(later)
    minutes = [int(key[:11]) for where, key in left(shelf) if where.split("/")[2] == str(pb.STATS_PERIOD_MINUTE)]
    assert min(minutes) >= later - KEPT[pb.STATS_PERIOD_MINUTE] - 2 * HOUR
    for calendar in calendars:
        await calendar.clear(NOW + 70 * DAY)
    assert {where.split("/")[2] for where, _ in left(shelf)} == {str(pb.STATS_PERIOD_DAY)}
    assert {row.partition for row in shelf.all("mail_counts_until")} == {"cleared"}


async def test_what_was_cleared_halfway_is_cleared_by_the_next_look() -> None:
    """A process that dies in the middle leaves the place where it was; another begins there."""
    shelf = Shelf()
    calendar = Calendar(shelf, 0, "mail_counts")
    await calendar.clear(NOW)
    for number in range(40):
        place = Place("acme", DOMAIN, f"d{number}.example", pb.STATS_PERIOD_MINUTE, NOW - NOW % 60 + number * 60)
        await write(shelf, calendar, place, 0)
    put, writes = shelf.put_rows, 0

    class Died(Exception):
        pass

    async def mortal(rows: Sequence[Row]) -> None:
        nonlocal writes
        writes += 1
        if writes == 7:
            raise Died
        await put(rows)

    shelf.put_rows = mortal  # type: ignore[method-assign]
    try:
        await calendar.clear(NOW + 4 * DAY)
    except Died:
        assert left(shelf)
    await Calendar(shelf, 0, "mail_counts").clear(NOW + 4 * DAY)
    assert not left(shelf)


async def test_a_long_span_is_read_in_order_and_bounded() -> None:
    shelf = Shelf()
    assert summed(await read_rows(shelf, "acme", DOMAIN, pb.STATS_PERIOD_DAY, 0, NOW)) == []
