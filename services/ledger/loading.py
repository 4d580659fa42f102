"""Loading an aggregate: rule 1 of the protocol, and repair, which is nothing else.

The subject's last message is read first, the store second; what the log has above the store's head is checked, stored and only
then served. An entry continues the one whose sequence is its `base_seq`; a lower one is void and everybody skips it, a higher one
shows a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from services.ledger import entries
from services.ledger.archive import Head, StoredEntry, Write, entry_size
from services.ledger.decider import Kind
from services.ledger.engine import Engine
from services.ledger.errors import FenceLost, HistoryGap, LogUnavailable, StoreUnavailable
from services.ledger.ids import AggregateId
from services.ledger.log import LogMessage
from services.ledger.replay import Replay, Standing

_TRIES = 4
_PAGE = 256
_log = structlog.get_logger(__name__)


class Loader:
    """Loads aggregates of one kind.

    Args:
        kind: the decider and its codecs.
        engine: log and store.

    Attributes:
        replay: what the kind makes of entries.
    """

    def __init__(self, kind: Kind[Any, Any, Any], engine: Engine) -> None:
        self._engine = engine
        self.replay = Replay(kind, engine.archive)

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
        found = await self.replay.standing(aggregate)
        if 0 < found.last_seq < self._engine.log.epoch:
            raise LogUnavailable("an earlier life of the log left this; it is shown once the log is there")
        await self._engine.confirm_life()  # a process that slept through a lost log must not answer out of it
        return found

    async def _attempt(self, aggregate: AggregateId, known: Standing | None, read_at: float, *, sure: bool) -> Standing:
        log = self._engine.log
        subject = log.subject(aggregate)
        last = await log.last(subject, sure=sure)
        try:
            found, head_seq = await self._base(aggregate, known)
        except HistoryGap:
            if not await self._fill(aggregate, subject):
                raise
            raise _Gap from None
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
        if not head_seq:
            await self._engine.confirm_life()  # a store that has nothing of it may be one that was wiped a moment ago
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
            stored = await self.replay.standing(aggregate)
            return stored, stored.last_seq
        head = await self._engine.archive.head(aggregate.key)
        head_seq = head.seq if head else 0
        if head_seq < known.last_seq:
            raise StoreUnavailable("the store is behind what it answered: an operator must restore it")
        newest = max(known.newest_request_ms, head.newest_request_ms if head else 0)
        return Standing(known.state, known.version, known.last_seq, newest_request_ms=newest, size=known.size), head_seq

    async def _follow(self, aggregate: AggregateId, found: Standing, tail: Sequence[LogMessage], until: int) -> None:
        """Checks, stores and applies what the log has above the store's head."""
        if not tail or tail[-1].seq < until:
            raise _Gap  # it aged out while it was read, so it is stored: read the store again
        head = await self._engine.archive.head(aggregate.key)
        head_seq = head.seq if head is not None else 0
        epoch = self._engine.log.epoch
        for message in tail:
            entry = entries.parse(message.data)
            if entry.base_seq < found.last_seq < epoch:
                await self._cut_back(aggregate, found, int(entry.base_seq), int(entry.first_version) - 1)
            if entry.base_seq < found.last_seq:
                continue  # void: its writer had not seen the entry before it
            if entry.base_seq > found.last_seq or entry.first_version != found.version + 1:
                raise _Gap
            if max(found.last_seq, epoch - 1) < head_seq < message.seq:
                raise _Gap  # what the store has beyond this memory aged out of the log, and this may be void
            await self._take(aggregate, found, message, missing=message.seq > head_seq)
        if found.last_seq < head_seq <= until:
            raise _Gap

    async def _cut_back(self, aggregate: AggregateId, found: Standing, last_seq: int, version: int) -> None:
        """Rule 2: the first entry of an aggregate in this life says what of earlier lives stands. What a writer of those stored so late
        that this entry's writer did not see it is nothing, though the store shows it until this entry is stored in its place."""
        late: list[StoredEntry] = []
        after = version
        while page := await self._engine.archive.entries(aggregate.key, after=after, limit=_PAGE):
            some = [stored for stored in page if last_seq < stored.seq <= found.last_seq]
            late += some
            if not some or some[-1].seq == found.last_seq:
                break
            after = entries.last_version(entries.parse(some[-1].data))
        if not late or late[-1].seq != found.last_seq:
            raise _Gap  # another process stored this entry meanwhile
        found.state = await self.replay.state_at(aggregate, version)
        found.version, found.last_seq, found.snapshot_version = version, last_seq, 0
        found.size -= sum(entry_size(stored.data) for stored in late)
        found.fresh.clear()
        _log.warning("late_entry_void", kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id)

    async def _fill(self, aggregate: AggregateId, subject: str) -> bool:
        """Fills what the store lacks below its head out of the log, if that holds it all.

        A process that did not know yet that the store had been lost stored an entry, and what is before it was not restored yet.
        """
        archive = self._engine.archive
        head = await archive.head(aggregate.key)
        found = await self.replay.unbroken(aggregate)
        if head is None:
            return False
        if found.last_seq >= head.seq:
            return True  # another process filled it meanwhile
        for message in await self._engine.log.tail(subject, found.last_seq, head.seq, sure=True):
            entry = entries.parse(message.data)
            if entry.base_seq < found.last_seq:
                continue  # void
            if entry.base_seq > found.last_seq or entry.first_version != found.version + 1:
                return False
            write = self.replay.apply(aggregate, found, StoredEntry(0, message.seq, message.data), writes=True)
            if write is not None:
                await archive.store(write)
        if found.last_seq != head.seq:
            return False
        _log.warning("store_filled", kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id)
        return True

    async def _take(self, aggregate: AggregateId, found: Standing, message: LogMessage, *, missing: bool) -> None:
        write = self.replay.apply(aggregate, found, StoredEntry(0, message.seq, message.data), writes=missing)
        if write is not None:
            if self._engine.clock.monotonic() - found.read_at > self._engine.limits.fence_zero_within:
                raise _TooLate  # the entry may have left the log by now, and another may stand in its place
            await self._engine.archive.store(write)
            await self._in_time(found)  # before anybody is told
            self._engine.counters.repaired += 1
            self._engine.stored(aggregate, message.seq, write.head.version)

    async def _open_in_new_life(self, aggregate: AggregateId, subject: str, found: Standing) -> None:
        """Rule 2: what an earlier life of the log left is shown only once this life holds an entry that continues it."""
        data = entries.encode(found.version, found.last_seq, (), (), self._engine.writer)
        if found.fence == 0 and self._engine.clock.monotonic() - found.read_at > self._engine.limits.fence_zero_within:
            raise FenceLost  # 0 may by now mean "aged out": read the log again
        sent_at = self._engine.clock.monotonic()
        seq = await self._engine.log.append(subject, data, found.fence)
        if found.fence == 0 and self._engine.clock.monotonic() - found.read_at > self._engine.limits.fence_zero_within:
            raise FenceLost  # nobody knows when it was sent: a load tells whether it counts
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
