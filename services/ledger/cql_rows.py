"""Read models in the CQL archive: rows in order of key, cut into slices where a partition would grow too large."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from services.ledger.archive import Row
from services.ledger.timers import TABLE as TIMERS
from services.runtime.cql import CqlSession, Statement

_MOST_KNOWN: Final = 100_000
_SLICES: Final = 64
_FEWEST, _MOST = 4, 16

FLEETING: Final = frozenset({TIMERS})
"""Read models whose rows come and go, kept in a table whose tombstones go soon."""
SECRETS: Final = "_keys"
"""What the names of read models that hold secrets end in; they are in a table that is small, and rewritten whenever an operator likes."""

_Part = tuple[Statement, Sequence[Any]]


class Rows:
    """Reads and writes rows.

    Args:
        session: the store.
        sliced: by read model, how many characters of a key say which slice it is in; models not named have one slice.
    """

    def __init__(self, session: CqlSession, sliced: Mapping[str, int]) -> None:
        self._session = session
        self._sliced = sliced
        self._known: dict[tuple[str, str, str], None] = {}

    async def put(self, rows: Iterable[Row], seq: int | None = None) -> None:
        """Upserts rows, `seq` instead of their own where it is given; of several with one key, the last counts."""
        places: dict[tuple[str, str, str], dict[str, Row]] = {}
        for row in rows:
            place = (row.table, row.partition, self._slice(row.table, row.key))
            places.setdefault(place, {})[row.key] = row
        await asyncio.gather(*(self._put_slice(place, list(some.values()), seq) for place, some in places.items()))

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        """See `Archive.row`."""
        found = await self._session.execute(self._of(table, "row"), (table, partition, self._slice(table, key), key))
        return Row(table, partition, *found[0]) if found else None

    async def page(
        self, table: str, partition: str, after: str | None, limit: int, *, descending: bool
    ) -> Sequence[Row]:
        """See `Archive.rows`."""
        if not self._sliced.get(table):
            return await self._read(table, partition, "", after, limit, descending)
        page: list[Row] = []
        first = None if after is None else self._slice(table, after)
        at, known = first, 0
        while True:
            slices = await self._slices(table, partition, at, descending)
            fresh = slices[known:]
            for start, stop in _groups(len(fresh)):
                some = fresh[start:stop]
                most = limit - len(page)
                answers = await asyncio.gather(
                    *(
                        self._read(table, partition, one, after if one == first else None, most, descending)
                        for one in some
                    )
                )
                page += [row for rows in answers for row in rows]
                if len(page) >= limit:
                    return page[:limit]
            if len(slices) < _SLICES:
                return page
            at, known = slices[-1], 1  # the first of the next ones was read with these

    async def _put_slice(self, place: tuple[str, str, str], rows: Sequence[Row], seq: int | None) -> None:
        table = place[0]
        if self._sliced.get(table) and place not in self._known:
            first = rows[0].seq if seq is None else seq
            await self._session.execute(self._session["put_slice"], (*place, first))
            self._known[place] = None
            if len(self._known) > _MOST_KNOWN:
                for oldest in list(islice(self._known, _MOST_KNOWN // 4)):
                    del self._known[oldest]
        parts = [self._part(place, row, row.seq if seq is None else seq) for row in rows]
        if len(parts) == 1:
            await self._session.execute(*parts[0])
        else:
            await self._session.batch("put_rows", parts)

    def _part(self, place: tuple[str, str, str], row: Row, seq: int) -> _Part:
        if row.value is None:
            return self._of(row.table, "delete_row"), (seq, *place, row.key)
        return self._of(row.table, "put_row"), (*place, row.key, row.value, seq, seq)

    async def _read(
        self, table: str, partition: str, slice_: str, after: str | None, limit: int, descending: bool
    ) -> list[Row]:
        if after is None:
            statement = self._of(table, "rows_last" if descending else "rows_first")
            values: tuple[Any, ...] = (table, partition, slice_, limit)
        else:
            statement = self._of(table, "rows_down" if descending else "rows_up")
            values = (table, partition, slice_, after, limit)
        return [Row(table, partition, *line) for line in await self._session.execute(statement, values)]

    async def _slices(self, table: str, partition: str, at: str | None, descending: bool) -> list[str]:
        """Slices from `at` on."""
        if descending and at is None:
            found = await self._session.execute(self._session["slices_last"], (table, partition, _SLICES))
        else:
            statement = self._session["slices_down" if descending else "slices_up"]
            found = await self._session.execute(statement, (table, partition, at or "", _SLICES))
        return [line[0] for line in found]

    def _slice(self, table: str, key: str) -> str:
        return key[: self._sliced.get(table, 0)]

    def _of(self, table: str, name: str) -> Statement:
        return self._session[f"{place_of(table)}{name}"]


def place_of(table: str) -> str:
    """Give what the statements begin with that are for a read model's rows."""
    if table in FLEETING:
        return "fleeting_"
    return "secret_" if table.endswith(SECRETS) else ""


def _groups(count: int) -> Iterator[tuple[int, int]]:
    """How many slices are asked at once: few at first, because one may fill the page; more, because they may be nearly empty."""
    start, size = 0, _FEWEST
    while start < count:
        yield start, start + size
        start, size = start + size, min(_MOST, size * 2)
