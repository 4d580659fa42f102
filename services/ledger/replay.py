"""What entries make of an aggregate: states, and what each entry writes into the store. Loading and restoring share it.

Nothing here asks the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError
from tradewind.ledger.v1 import entry_pb2

from services.ledger import entries
from services.ledger.archive import Archive, Head, Loaded, Row, Snapshot, StoredEntry, Write, entry_size
from services.ledger.decider import Kind, no_timers
from services.ledger.errors import HistoryGap
from services.ledger.ids import AggregateId, milliseconds_of
from services.ledger.timers import row_of

_PAGE = 4096


@dataclass
class Standing:
    """An aggregate as loaded.

    Attributes:
        state, version: of the last stored event.
        last_seq: sequence of the last valid entry; what the next one's `base_seq` is.
        fence: the subject's last sequence, void entries included; what the next append expects.
        read_at: monotonic time before the log was read.
        newest_request_ms: see `archive.Head`.
        fresh: payloads of events this load found beyond what it started from.
        size: bytes of all entries; see `archive.Head`.
        snapshot_version: of the snapshot it was loaded from; 0 where there was none.
    """

    state: Any
    version: int = 0
    last_seq: int = 0
    fence: int = 0
    read_at: float = 0.0
    newest_request_ms: int = 0
    fresh: list[bytes] = field(default_factory=list)
    size: int = 0
    snapshot_version: int = 0

    def continued_by(self, entry: entry_pb2.Entry) -> bool:
        """Whether a stored entry is the next one. What opened an aggregate in a new life gave its place to the entry after it."""
        return entry.first_version == self.version + 1 and entry.base_seq >= self.last_seq


class Replay:
    """Applies the entries of one kind of aggregate.

    Args:
        kind: the decider and its codecs.
        archive: the store.
    """

    def __init__(self, kind: Kind[Any, Any, Any], archive: Archive) -> None:
        self.kind, self._archive = kind, archive
        self._states: TypeAdapter[Any] = TypeAdapter(kind.state_type)

    def apply(self, aggregate: AggregateId, found: Standing, stored: StoredEntry, *, writes: bool) -> Write | None:
        """Takes a standing on to after an entry that continues it; answers what the entry writes, where that is wanted."""
        entry = entries.parse(stored.data)
        before, decided = found.state, []
        for event in entries.recorded(entry):
            decoded = self.kind.decode(event.payload)
            found.state = self.kind.evolve(found.state, decoded)
            decided.append((event.version, decoded))
        ids = [command.request_id for command in entry.commands]
        found.newest_request_ms = max([found.newest_request_ms, *map(milliseconds_of, ids)])
        found.version, found.last_seq = entries.last_version(entry), stored.seq
        found.size += entry_size(stored.data)
        found.fresh += entry.events
        if not writes:
            return None
        head = Head(found.version, found.last_seq, found.newest_request_ms, found.size)
        rows = self.rows(aggregate, before, found.state, decided)
        return Write(aggregate.key, StoredEntry(int(entry.first_version), stored.seq, stored.data), head, ids, rows)

    async def state_at(self, aggregate: AggregateId, version: int) -> Any:
        """The state as of a version, folded from the first event on.

        Raises:
            StoreUnavailable: it cannot be read now.
        """
        state, reached = self.kind.initial(), 0
        while reached < version:
            page = await self._archive.entries(aggregate.key, after=reached, limit=256)
            start = reached
            for stored in page:
                for event in entries.recorded(entries.parse(stored.data)):
                    if reached < event.version <= version:
                        state = self.kind.evolve(state, self.kind.decode(event.payload))
                        reached = event.version
            if reached == start:
                break
        return state

    def snapshot(self, version: int, seq: int, state: Any) -> Snapshot:
        """A state as a snapshot."""
        return Snapshot(version, seq, self._states.dump_json(state))

    def rows(self, aggregate: AggregateId, before: Any, after: Any, decided: Sequence[tuple[int, Any]]) -> list[Row]:
        """The read-model rows of an entry, from what was decided (or decoded) of it."""
        rows = list(self.kind.rows(aggregate, after, decided)) if decided else []
        if self.kind.timers is not no_timers:
            rows += self._timer_rows(aggregate, before, after)
        return rows

    def _timer_rows(self, aggregate: AggregateId, before: Any, after: Any) -> list[Row]:
        old, new = self.kind.timers(before), self.kind.timers(after)
        if old == new:
            return []
        return [row_of(aggregate, waits=bool(new))]

    async def standing(self, aggregate: AggregateId) -> Standing:
        """An aggregate as the store has it.

        Raises:
            StoreUnavailable: it cannot be read now.
            HistoryGap: the store holds it only in part.
        """
        loaded = await self._archive.load(aggregate.key)
        head = loaded.head
        if head is None:
            return Standing(self.kind.initial())
        state, version, snapshot_version = self.kind.initial(), 0, 0
        if loaded.snapshot is not None:
            try:
                state, version = self._states.validate_json(loaded.snapshot.data), loaded.snapshot.version
                snapshot_version = version
            except ValidationError:
                # It was made by a release whose state had another shape: what counts are the events.
                first = await self._archive.entries(aggregate.key, after=0, limit=_PAGE)
                loaded = Loaded(head, None, first, complete=False)
        state, version = await self._fold(aggregate, loaded, state, version, head.version)
        if version != head.version:
            raise HistoryGap("the store holds this aggregate only in part", kind=aggregate.kind)
        return Standing(
            state, version, head.seq,
            newest_request_ms=head.newest_request_ms, size=head.size, snapshot_version=snapshot_version,
        )  # fmt: skip

    async def unbroken(self, aggregate: AggregateId) -> Standing:
        """An aggregate as far as the store has it without a hole, from its first entry on; for a store that holds it only in part.

        Raises:
            StoreUnavailable: it cannot be read now.
        """
        found = Standing(self.kind.initial())
        while page := await self._archive.entries(aggregate.key, after=found.version, limit=_PAGE):
            start = found.last_seq
            for stored in page:
                if found.continued_by(entries.parse(stored.data)):
                    self.apply(aggregate, found, stored, writes=False)
            found.fresh.clear()
            if found.last_seq == start:
                break
        return found

    async def _fold(
        self, aggregate: AggregateId, loaded: Loaded, state: Any, version: int, last: int
    ) -> tuple[Any, int]:
        """Folds up to `last` and no further: others may go on while a long history is read in pages."""
        page: Sequence[StoredEntry] = loaded.entries
        complete = loaded.complete
        while True:
            start = version
            for stored in page:
                for event in entries.recorded(entries.parse(stored.data)):
                    if event.version == version + 1 <= last:
                        state = self.kind.evolve(state, self.kind.decode(event.payload))
                        version = event.version
            if complete or version in (start, last):
                return state, version
            page = await self._archive.entries(aggregate.key, after=version, limit=_PAGE)
