"""Walking over every aggregate of the CQL archive, or every row, by token: for recovery and backups, and nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from services.ledger.archive import PAGE_BYTES, Head, Row, Scanned, ScannedRows, StoredEntry
from services.ledger.cql_history import History
from services.ledger.cql_rows import place_of
from services.runtime.cql import CqlSession

_PARTITIONS: Final = 256
_AT_ONCE: Final = 16
_FEW_ROWS: Final = 32
_LOOK_BACK: Final = 64
LONGEST_S: Final = 1.0
"""A page ends after so long, though it may be empty: of many aggregates few may be wanted, and who asks waits not for ever."""
_ALL: Final = 1 << 62
_FIRST: Final = -(1 << 63)


class _Place(NamedTuple):
    """Where a scan goes on: behind this version of this key, whose token this is; before the first key, the lowest token."""

    version: int = 0
    token: int = _FIRST
    key: str = ""

    @classmethod
    def read(cls, text: str) -> _Place:
        if not text:
            return cls()
        version, token, key = text.split(":", 2)
        return cls(int(version), int(token), key)

    def __str__(self) -> str:
        return f"{self.version}:{self.token}:{self.key}"


class Scanner:
    """Scans; see `Archive.scan`."""

    def __init__(self, session: CqlSession, history: History) -> None:
        self._session = session
        self._history = history

    async def page(self, after_seq: int, text: str, limit: int) -> Scanned:
        """A page from the place on that the page before gave; empty at the beginning."""
        found: list[tuple[str, StoredEntry]] = []
        size, place, began = 0, _Place.read(text), time.monotonic()
        async for at, entry in self._walk(after_seq, place, limit):
            if entry is None:
                place = at
                if time.monotonic() - began > LONGEST_S:
                    return Scanned(found, str(place))
                continue
            size += len(entry.data)
            if found and size > PAGE_BYTES:
                return Scanned(found, str(place))
            found.append((at.key, entry))
            place = at
            if len(found) >= limit:
                return Scanned(found, str(place))
        return Scanned(found, "")

    async def _walk(
        self, after_seq: int, place: _Place, limit: int
    ) -> AsyncIterator[tuple[_Place, StoredEntry | None]]:
        """Every entry above a sequence, each with the place behind it; None with the place behind some more aggregates."""
        if place.key:
            head = await self._history.head(place.key)
            rest = await self._history.up_from(place.key, place.version, limit)
            async for found in self._aggregate(after_seq, place, head, rest, limit):
                yield found
        token = place.token
        while keys := await self._keys(token):
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                first = [(key, at) for key, bucket, at in some if not bucket]
                begun = await asyncio.gather(*(self._begin(key, after_seq, limit) for key, _ in first))
                for (key, at), (head, page) in zip(first, begun, strict=True):
                    async for found in self._aggregate(after_seq, _Place(0, at, key), head, page, limit):
                        yield found
                yield _Place(0, some[-1][2]), None
            token = keys[-1][2]

    async def _begin(self, key: str, after_seq: int, limit: int) -> tuple[Head | None, Sequence[StoredEntry]]:
        """An aggregate's head, and the first entries that are wanted of it."""
        head = await self._history.head(key)
        if head is None or head.seq <= after_seq:
            return head, ()
        page = await self._history.up_from(key, 0, limit)
        if page and page[0].seq <= after_seq:
            page = await self._history.up_from(key, await self._before_first(key, after_seq), limit)
        return head, page

    async def _aggregate(
        self, after_seq: int, place: _Place, head: Head | None, entries: Sequence[StoredEntry], limit: int
    ) -> AsyncIterator[tuple[_Place, StoredEntry]]:
        """An aggregate's entries above a sequence: `entries`, and those after them up to its head."""
        while entries:
            for entry in entries:
                if entry.seq > after_seq:
                    yield _Place(entry.first_version, place.token, place.key), entry
            if head is None or entries[-1].seq >= head.seq:
                return
            entries = await self._history.up_from(place.key, entries[-1].first_version, limit)

    async def _before_first(self, key: str, after_seq: int) -> int:
        """The version of the last entry at or below a sequence: from the newest back, as few are above it as a rule."""
        before = _ALL
        while page := await self._history.page_down(key, before, _LOOK_BACK):
            for entry in page:
                if entry.seq <= after_seq:
                    return entry.first_version
            before = page[-1].first_version
        return 0

    async def _keys(self, token: int) -> list[tuple[str, int, int]]:
        """The next partitions by token: key, bucket, token."""
        found = await self._session.execute(self._session["keys"], (token, _PARTITIONS))
        return [(key, bucket, at) for key, bucket, at in found]


class RowScanner:
    """Scans the rows of read models; see `Archive.scan_rows`. Those that come and go are not looked at."""

    def __init__(self, session: CqlSession) -> None:
        self._session = session

    async def page(self, table: str, text: str, limit: int) -> ScannedRows:
        """A page from the place on that the page before gave: a token, the partition with its slice, and the key reached in it."""
        token, partition, slice_, key = json.loads(text) if text else (_FIRST, "", "", "")
        found = _Filling(limit)
        began = time.monotonic()
        while True:
            if partition:
                key = await self._rest(table, partition, slice_, key, found)
                if found.full:
                    return ScannedRows(found.rows, json.dumps([token, partition, slice_, key]))
            if time.monotonic() - began > LONGEST_S:
                return ScannedRows(found.rows, json.dumps([token, "", "", ""]))
            where = self._session[f"{place_of(table)}row_places"]
            places = await self._session.execute(where, (token, _PARTITIONS))
            if not places:
                return ScannedRows(found.rows, "")
            for name, partition, slice_, at in places[:-1]:
                if name != table:
                    continue
                key = await self._rest(table, partition, slice_, "", found)
                if found.full:
                    return ScannedRows(found.rows, json.dumps([at, partition, slice_, key]))
            name, partition, slice_, token = places[-1]
            partition, key = partition if name == table else "", ""

    async def _rest(self, table: str, partition: str, slice_: str, key: str, found: _Filling) -> str:
        """Takes what is beyond a key of a slice, as long as there is room; answers the key reached."""
        rows_up = self._session[f"{place_of(table)}rows_up"]
        while not found.full:
            wanted = found.wanted()
            lines = await self._session.execute(rows_up, (table, partition, slice_, key, wanted))
            for line in lines:
                row = Row(table, partition, *line)
                if not found.take(row):
                    return key
                key = row.key
            if len(lines) < wanted:
                break
        return key


class _Filling:
    """A page of rows while it is filled: so many at most, and so many bytes, but one in any case.

    Attributes:
        full: no more go in.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self.rows: list[Row] = []
        self.full = limit <= 0

    def wanted(self) -> int:
        """How many rows to read next: few at first, then as many as are likely to fit."""
        fit = (PAGE_BYTES - self._size) * len(self.rows) // max(1, self._size) + 1 if self.rows else _FEW_ROWS
        return min(fit, self._limit - len(self.rows))

    def take(self, row: Row) -> bool:
        """Takes a row; False: it does not go in."""
        size = len(row.value or b"")
        if self.rows and self._size + size > PAGE_BYTES:
            self.full = True
            return False
        self.rows.append(row)
        self._size += size
        self.full = len(self.rows) >= self._limit or self._size >= PAGE_BYTES
        return True
