"""What earlier lives of a log left to a consumer: remembered, found, and handed over where this life opened the aggregate.

What an earlier life left of an aggregate stands only once this life holds an entry that continues it (rule 2): until then a writer
that slept through the loss may store one more, and one that was read may turn out to be nothing. So the entry that opens an aggregate is
the place in the log at which what the consumer lacks of it is handed over; and what a consumer does first in a new life is to have
those aggregates opened of which something was left to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from tradewind.ledger.v1 import entry_pb2

from services.ledger import entries
from services.ledger.archive import Archive, Row
from services.ledger.desk import Desk
from services.ledger.ids import AggregateId
from services.ledger.lasting import patiently

TABLE = "lives"
"""Rows that say how far each consumer was when each life of a log began: partition by `place_of`, key the life, value the sequence."""
MOST_LIVES = 64
"""So many of the newest are looked at; a life of the log ends with its loss."""


def place_of(role: str, source: str, partition: int) -> str:
    """The partition of `TABLE` that is one consumer's."""
    return f"{source}/{role}/{partition}"


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What was not taken when a life of the log began: above `taken`, and below `ends`, that life's first sequence."""

    taken: int
    ends: int


class Earlier:
    """The earlier lives of one partition of a log, as one consumer knows them.

    Args:
        kind: only entries of this kind of aggregate; None: of all.
    """

    def __init__(
        self, archive: Archive, desk: Desk, *, role: str, source: str, epoch: int, partition: int, kind: str | None
    ) -> None:
        self._archive, self._desk = archive, desk
        self._place = place_of(role, source, partition)
        self._epoch, self._partition, self._kind = epoch, partition, kind
        self._stretches: list[_Stretch] = []

    async def begin(self, after: int | None) -> None:
        """Remembers how far the consumer was (None: it is new) where that was in an earlier life, and reads what is remembered.

        Raises:
            StoreUnavailable: not now.
        """
        if after is not None and after < self._epoch - 1:
            row = Row(TABLE, self._place, f"{self._epoch:020d}", str(after).encode(), after)
            await self._archive.put_rows([row])
        rows = await self._archive.rows(TABLE, self._place, limit=MOST_LIVES, descending=True)
        found = [_Stretch(int(row.value or b"0"), int(row.key)) for row in rows]
        self._stretches = [stretch for stretch in reversed(found) if stretch.ends <= self._epoch]

    def taken(self, seq: int) -> bool:
        """Whether an entry of an earlier life was surely taken, or is from before the consumer's first."""
        return not any(stretch.taken < seq < stretch.ends for stretch in self._stretches)

    def least(self, seq: int) -> int:
        """A sequence at or below which all was taken, at most `seq`."""
        return min([seq, *(stretch.taken for stretch in self._stretches)])

    async def opened(self, after: int, before: int) -> AsyncIterator[entry_pb2.ScannedEntry]:
        """Entries between two sequences, of aggregates that are open in this life when they are given; each one's oldest first."""
        query = entry_pb2.ScanRequest(
            after_seq=after, before_seq=before, partition=self._partition, kind=self._kind or ""
        )
        async for found in self._pages(query):
            if self._kind in (None, found.kind):
                yield found

    async def left(self, aggregate: AggregateId, base_seq: int) -> AsyncIterator[entry_pb2.ScannedEntry]:
        """What is left of an aggregate that this life opened, by an entry that continues the one at `base_seq`; oldest first."""
        parts: list[entry_pb2.ScanRequest] = []
        for stretch in reversed(self._stretches):
            if self.taken(base_seq):
                break  # and all that was before it of this aggregate
            if stretch.taken >= base_seq:
                continue
            query = entry_pb2.ScanRequest(
                after_seq=stretch.taken, before_seq=stretch.ends, partition=self._partition,
                kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id,
            )  # fmt: skip
            parts.insert(0, query)
            first = entry_pb2.ScanRequest()
            first.CopyFrom(query)
            first.limit = 1
            for found in (await self._ask(first)).entries[:1]:
                base_seq = int(entries.parse(found.entry).base_seq)
        for query in parts:
            async for found in self._pages(query):
                yield found

    async def _pages(self, query: entry_pb2.ScanRequest) -> AsyncIterator[entry_pb2.ScannedEntry]:
        while True:
            page = await self._ask(query)
            for found in page.entries:
                yield found
            if not page.next_key:
                return
            query.after_key = page.next_key

    async def _ask(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        """Asks until the owner answers."""
        return await patiently("earlier_lives_wait", partial(self._desk.scan, query), place=self._place)
