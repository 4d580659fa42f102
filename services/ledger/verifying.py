"""Walking over a store and holding it to what every store must be: dense versions, heads that fit, request ids that lead home, and
read models that are what the entries make of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from services.ledger import entries
from services.ledger.archive import Archive, Row, StoredEntry
from services.ledger.decider import Kind
from services.ledger.errors import HistoryGap
from services.ledger.ids import AggregateId
from services.ledger.replay import Replay, Standing

_PAGE = 1000
_MOST_ROWS = 10_000


@dataclass
class Report:
    """What was looked at."""

    aggregates: int = 0
    entries: int = 0
    events: int = 0
    request_ids: int = 0
    rows: int = 0
    broken: int = 0


@dataclass(frozen=True)
class Broken:
    """One aggregate that is not what it must be, and the first thing that is wrong with it."""

    aggregate: AggregateId
    why: str


async def verify(
    archive: Archive, kinds: Iterable[Kind[Any, Any, Any]], report: Report, *, ids: bool = True
) -> list[Broken]:
    """Walks over the whole store; what services write meanwhile may be looked at or not.

    Args:
        report: counted into as it goes.
        ids: look every request id up, which takes most of the time.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    replays = {kind.name: Replay(kind, archive) for kind in kinds}
    found: list[Broken] = []
    place, walk = "", None
    while True:
        page = await archive.scan(after_seq=0, place=place, limit=_PAGE)
        for key, stored in page.entries:
            if walk is None or walk.aggregate.key != key:
                found += await _ended(walk, report)
                aggregate = AggregateId.from_key(key)
                walk = _Walk(archive, replays.get(aggregate.kind), aggregate, report, ids=ids)
            await walk.take(stored)
        place = page.next_place
        if not place:
            found += await _ended(walk, report)
            return found


async def _ended(walk: _Walk | None, report: Report) -> list[Broken]:
    why = None if walk is None else await walk.end()
    if walk is None or why is None:
        return []
    report.broken += 1
    return [Broken(walk.aggregate, why)]


class _Walk:
    """One aggregate, entry by entry."""

    def __init__(
        self, archive: Archive, replay: Replay | None, aggregate: AggregateId, report: Report, *, ids: bool
    ) -> None:
        self.aggregate = aggregate
        self._archive, self._replay, self._report, self._ids = archive, replay, report, ids
        self._found = Standing(replay.kind.initial() if replay is not None else None)
        self._rows: dict[tuple[str, str, str], Row] = {}
        self._why = None if replay is not None else "is of a kind that this service has not"
        report.aggregates += 1

    async def take(self, stored: StoredEntry) -> None:
        """Takes the next entry."""
        if self._why is None:
            try:
                self._why = await self._look(stored)
            except HistoryGap:
                self._why = f"has an unreadable entry after version {self._found.version}"

    async def _look(self, stored: StoredEntry) -> str | None:
        found, entry = self._found, entries.parse(stored.data)
        if not found.continued_by(entry) or entry.first_version != stored.first_version:
            return f"has no entry that continues version {found.version}"
        if stored.seq <= found.last_seq:
            return f"has an entry after version {found.version} whose sequence does not rise"
        assert self._replay is not None
        write = self._replay.apply(self.aggregate, found, stored, writes=True)
        assert write is not None
        self._report.entries += 1
        self._report.events += len(entry.events)
        found.fresh.clear()
        for row in write.rows:
            if len(self._rows) < _MOST_ROWS:
                self._rows[row.table, row.partition, row.key] = row
        return await self._look_up(write.request_ids, stored) if self._ids else None

    async def _look_up(self, request_ids: Iterable[bytes], stored: StoredEntry) -> str | None:
        for request_id in request_ids:
            self._report.request_ids += 1
            led = await self._archive.find_request(self.aggregate.key, request_id)
            if led is None or led.seq != stored.seq:
                return f"has a request id in version {stored.first_version} that does not lead there"
        return None

    async def end(self) -> str | None:
        """What is wrong with it; None where nothing is."""
        if self._why is not None:
            return self._why
        head = await self._archive.head(self.aggregate.key)
        found = self._found
        if head is None:
            return "has entries and no head"
        if head.seq > found.last_seq and await self._goes_on():
            return None  # somebody writes it at this moment
        if (head.version, head.seq) != (found.version, found.last_seq):
            return f"has a head at version {head.version}, and entries to version {found.version}"
        if head.newest_request_ms < found.newest_request_ms:
            return "has a head that does not know its newest request id"
        return await self._look_at_rows(head.seq)

    async def _goes_on(self) -> bool:
        page = await self._archive.entries(self.aggregate.key, after=self._found.version, limit=1)
        return bool(page) and self._found.continued_by(entries.parse(page[0].data))

    async def _look_at_rows(self, seq: int) -> str | None:
        for wanted in self._wanted():
            self._report.rows += 1
            row = await self._archive.row(wanted.table, wanted.partition, wanted.key)
            if row is not None and row.seq > seq:
                continue  # somebody writes it at this moment
            if row is None and self._replay is not None and wanted.table in self._replay.kind.taken:
                continue  # it was dealt with
            if (row.value if row is not None else None) != wanted.value:
                return f"has a row in {wanted.table} that is not what its entries make of it"
        return None

    def _wanted(self) -> Iterator[Row]:
        yield from self._rows.values()
