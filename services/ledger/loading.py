"""Loading an aggregate: rule 1 of the protocol, and repair, which is nothing else.

The subject's last message is read first, the store second; what the log has above the store's head is checked, stored and only
then served. An entry continues the one whose sequence is its `base_seq`; a lower one is void and everybody skips it, a higher one
shows a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from tradewind.ledger.v1 import entry_pb2

from services.ledger import entries
from services.ledger.archive import Head, Loaded, Row, Snapshot, StoredEntry, Write, entry_size
from services.ledger.decider import Kind, no_timers
from services.ledger.engine import Engine
from services.ledger.errors import FenceLost, HistoryGap, LogUnavailable, StoreUnavailable
from services.ledger.ids import AggregateId, milliseconds_of
from services.ledger.log import LogMessage
from services.ledger.timers import row_of

_TRIES = 4
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


class Loader:
    """Loads aggregates of one kind.

    Args:
        kind: the decider and its codecs.
        engine: log and store.
    """

    def __init__(self, kind: Kind[Any, Any, Any], engine: Engine) -> None:
        self._kind = kind
        self._engine = engine
        self._states: TypeAdapter[Any] = TypeAdapter(kind.state_type)

    async def load(self, aggregate: AggregateId, known: Standing | None = None, *, sure: bool = False) -> Standing:
        """Loads an aggregate, from what is known of it in memory on where that is possible.

        `sure`: a copy of the log that may be behind is not asked; every try after the first is sure in any case.

        Raises:
            LogUnavailable, StoreUnavailable: it cannot be read now.
            HistoryGap: the log holds it only in part, and the store not the rest.
        """
        refusal: Exception = HistoryGap("the log holds this aggregate only in part", kind=aggregate.kind)
        for _ in range(_TRIES):
            read_at = self._engine.clock.monotonic()
            try:
                found = await self._attempt(aggregate, known, read_at, sure=sure)
            except (_Gap, FenceLost):
                known, sure = None, True
                continue
            except _TooLate:
                refusal = StoreUnavailable("the store answers too slowly to be believed")
                continue
            except _Behind:
                refusal = LogUnavailable("the log is behind the store: an operator must recover it")
                continue
            self._engine.counters.loads += 1
            return found
        raise refusal

    async def read_stored(self, aggregate: AggregateId) -> Standing:
        """What the store alone shows; for reads while the log is down.

        Raises:
            StoreUnavailable: it cannot be read now.
            LogUnavailable: an earlier life of the log left it, and only this life can say that it stands (rule 2).
        """
        found = await self._from_store(aggregate)
        if 0 < found.last_seq < self._engine.log.epoch:
            raise LogUnavailable("an earlier life of the log left this; it is shown once the log is there")
        await self._engine.confirm_life()  # a process that slept through a lost log must not answer out of it
        return found

    async def state_at(self, aggregate: AggregateId, version: int) -> Any:
        """The state as of a version, folded from the first event on.

        Raises:
            StoreUnavailable: it cannot be read now.
        """
        state, reached = self._kind.initial(), 0
        while reached < version:
            page = await self._engine.archive.entries(aggregate.key, after=reached, limit=256)
            start = reached
            for stored in page:
                for event in entries.recorded(entries.parse(stored.data)):
                    if reached < event.version <= version:
                        state = self._kind.evolve(state, self._kind.decode(event.payload))
                        reached = event.version
            if reached == start:
                break
        return state

    def snapshot(self, version: int, seq: int, state: Any) -> Snapshot:
        """A state as a snapshot."""
        return Snapshot(version, seq, self._states.dump_json(state))

    def rows(self, aggregate: AggregateId, before: Any, after: Any, decided: Sequence[tuple[int, Any]]) -> list[Row]:
        """The read-model rows of an entry, from what was decided (or decoded) of it."""
        rows = list(self._kind.rows(aggregate, after, decided)) if decided else []
        if self._kind.timers is not no_timers:
            rows += self._timer_rows(aggregate, before, after)
        return rows

    def _timer_rows(self, aggregate: AggregateId, before: Any, after: Any) -> list[Row]:
        old, new = self._kind.timers(before), self._kind.timers(after)
        if old == new:
            return []
        return [row_of(aggregate, waits=bool(new))]

    async def _attempt(self, aggregate: AggregateId, known: Standing | None, read_at: float, *, sure: bool) -> Standing:
        log = self._engine.log
        subject = log.subject(aggregate)
        last = await log.last(subject, sure=sure)
        found, head_seq = await self._base(aggregate, known)
        found.read_at = read_at
        if head_seq > (last.seq if last else 0) and (last is not None or head_seq > found.last_seq):
            # Another writer was here between the two reads. Its entry is at the head, so what the log now has from there on, and
            # nothing older, is what is missing: entries age out oldest first, and a hole shows in `base_seq`.
            last = await log.last(subject, sure=True)
            if last is None:
                raise _Gap
            if last.seq < head_seq:
                raise _Behind
        found.fence = last.seq if last else 0
        if last is not None and last.seq > found.last_seq:
            tail = await log.tail(subject, found.last_seq, last.seq, sure=sure)
            await self._follow(aggregate, found, tail, last.seq)
        await self._in_time(found)
        if 0 < found.last_seq < log.epoch:
            await self._open_in_new_life(aggregate, subject, found)
        return found

    async def _in_time(self, found: Standing) -> None:
        """Rule 5: the store's answers count only soon after an answer of this life of the log."""
        if self._engine.clock.monotonic() - found.read_at > self._engine.limits.acknowledge_within:
            raise _TooLate
        if not self._engine.counts(found.read_at):
            await self._engine.confirm_life()

    async def _base(self, aggregate: AggregateId, known: Standing | None) -> tuple[Standing, int]:
        """Where to go on from, memory or else the store; and the store's head."""
        if known is None:
            stored = await self._from_store(aggregate)
            return stored, stored.last_seq
        head = await self._engine.archive.head(aggregate.key)
        head_seq = head.seq if head else 0
        if head_seq < known.last_seq:
            raise StoreUnavailable("the store is behind what it answered: an operator must restore it")
        newest = max(known.newest_request_ms, head.newest_request_ms if head else 0)
        return Standing(known.state, known.version, known.last_seq, newest_request_ms=newest, size=known.size), head_seq

    async def _from_store(self, aggregate: AggregateId) -> Standing:
        loaded = await self._engine.archive.load(aggregate.key)
        if loaded.head is None:
            return Standing(self._kind.initial())
        state, version, snapshot_version = self._kind.initial(), 0, 0
        if loaded.snapshot is not None:
            state, version = self._states.validate_json(loaded.snapshot.data), loaded.snapshot.version
            snapshot_version = version
        state, version = await self._fold(aggregate, loaded, state, version)
        if version != loaded.head.version:
            raise HistoryGap("the store holds this aggregate only in part", kind=aggregate.kind)
        return Standing(
            state, version, loaded.head.seq,
            newest_request_ms=loaded.head.newest_request_ms, size=loaded.head.size, snapshot_version=snapshot_version,
        )  # fmt: skip

    async def _fold(self, aggregate: AggregateId, loaded: Loaded, state: Any, version: int) -> tuple[Any, int]:
        page: Sequence[StoredEntry] = loaded.entries
        complete = loaded.complete
        while True:
            start = version
            for stored in page:
                for event in entries.recorded(entries.parse(stored.data)):
                    if event.version == version + 1:
                        state = self._kind.evolve(state, self._kind.decode(event.payload))
                        version = event.version
            if complete or version == start:
                return state, version
            page = await self._engine.archive.entries(aggregate.key, after=version, limit=_PAGE)

    async def _follow(self, aggregate: AggregateId, found: Standing, tail: Sequence[LogMessage], until: int) -> None:
        """Checks, stores and applies what the log has above the store's head."""
        if not tail or tail[-1].seq < until:
            raise _Gap  # it aged out while it was read, so it is stored: read the store again
        head = await self._engine.archive.head(aggregate.key)
        for message in tail:
            entry = entries.parse(message.data)
            if entry.base_seq < found.last_seq:
                continue  # void: its writer had not seen the entry before it
            if entry.base_seq > found.last_seq or entry.first_version != found.version + 1:
                raise _Gap
            await self._take(aggregate, found, message, entry, missing=head is None or message.seq > head.seq)

    async def _take(
        self, aggregate: AggregateId, found: Standing, message: LogMessage, entry: entry_pb2.Entry, *, missing: bool
    ) -> None:
        before, state, decided = found.state, found.state, []
        for event in entries.recorded(entry):
            decoded = self._kind.decode(event.payload)
            state = self._kind.evolve(state, decoded)
            decided.append((event.version, decoded))
        newest = max([found.newest_request_ms, *(milliseconds_of(c.request_id) for c in entry.commands)])
        size = found.size + entry_size(message.data)
        if missing:
            rows = self.rows(aggregate, before, state, decided)
            ids = [command.request_id for command in entry.commands]
            head = Head(entries.last_version(entry), message.seq, newest, size)
            stored = StoredEntry(entry.first_version, message.seq, message.data)
            await self._engine.archive.store(Write(aggregate.key, stored, head, ids, rows))
            await self._in_time(found)  # before anybody is told
            self._engine.counters.repaired += 1
            self._engine.stored(aggregate, message.seq, head.version)
        found.state, found.version = state, entries.last_version(entry)
        found.last_seq, found.newest_request_ms, found.size = message.seq, newest, size
        found.fresh += entry.events

    async def _open_in_new_life(self, aggregate: AggregateId, subject: str, found: Standing) -> None:
        """Rule 2: what an earlier life of the log left is shown only once this life holds an entry that continues it."""
        data = entries.encode(found.version, found.last_seq, (), (), self._engine.writer)
        if found.fence == 0 and self._engine.clock.monotonic() - found.read_at > self._engine.limits.fence_zero_within:
            raise FenceLost  # 0 may by now mean "aged out": read the log again
        sent_at = self._engine.clock.monotonic()
        seq = await self._engine.log.append(subject, data, found.fence)
        found.size += entry_size(data)
        head = Head(found.version, seq, found.newest_request_ms, found.size)
        await self._engine.archive.store(Write(aggregate.key, StoredEntry(found.version + 1, seq, data), head))
        found.read_at = sent_at
        await self._in_time(found)
        self._engine.stored(aggregate, seq, found.version)
        found.last_seq = found.fence = seq


class _Behind(Exception):
    """The store knows of a later entry than the log's last one."""


class _TooLate(Exception):
    """The store answered so late that this life of the log may be over by now."""


class _Gap(Exception):
    """An entry continues one that was not found: read again, from the store on."""
