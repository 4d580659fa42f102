"""Consuming a service's log: one durable per role and partition, only what is stored, at least once, in order per aggregate.

A handler that fails is tried again with growing pauses; after bounded tries the event goes to the dead letters with its reason and
the rest flows on. An outage (an error with `retry_after`) is no fault of the event: it is waited out.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from tradewind.ledger.v1 import entry_pb2

from services.ledger import entries
from services.ledger.archive import Archive, Position
from services.ledger.deadletters import DeadLetters
from services.ledger.decider import Delivered
from services.ledger.desk import Desk
from services.ledger.earlier import Earlier
from services.ledger.ending import end
from services.ledger.engine import Tracer
from services.ledger.errors import HistoryGap, LedgerError, LogUnavailable
from services.ledger.feed import Feed
from services.ledger.ids import AggregateId
from services.ledger.lasting import patiently
from services.ledger.log import aggregate_of, stream_name, subject_filter
from services.ledger.stored import StoredEntries

Handler = Callable[[Delivered], Awaitable[None]]

_ANNOUNCED_WITHIN = 1.0
_TRIES = 5
_CRASHES = 12
_HANDLER_TIMEOUT = 60.0
_KEEP_POSITION = 2.0
_TELL_EVERY = 5.0
_log = structlog.get_logger(__name__)


class Consumer:
    """One role's consumer of one partition of one life of a log.

    Args:
        role: names the durable, its position and its dead letters.
        source: whose log.
        handle: takes an entry's events; must be idempotent.
        kind: only entries of this kind of aggregate; None: of all.
    """

    def __init__(
        self, nats: Client, archive: Archive, letters: DeadLetters, tracer: Tracer, desk: Desk, stored: StoredEntries,
        *, role: str, source: str, epoch: int, partition: int, handle: Handler, kind: str | None = None,
    ) -> None:  # fmt: skip
        self._archive, self._letters, self._tracer, self._desk, self._stored = archive, letters, tracer, desk, stored
        self.role, self.source, self.epoch, self.partition = role, source, epoch, partition
        self._handle = handle
        self._kind = kind
        self._earlier = Earlier(archive, desk, role=role, source=source, epoch=epoch, partition=partition, kind=kind)
        self._told_at = -_TELL_EVERY
        self._early: dict[int, asyncio.Task[None]] = {}
        self._feed = Feed(
            nats, stream_name(source, epoch), f"{role}-{partition}", subject_filter(source, epoch, partition, kind),
            key=lambda message: message.subject, take=self._take, before=_before, floor=epoch - 1, arrived=self._ask_early,
        )  # fmt: skip

    async def run(self) -> None:
        """Takes first what earlier lives of the log left, then this one's events, until cancelled."""
        await patiently("consumer_waits", self._catch_up, role=self.role, source=self.source)
        keeper = asyncio.create_task(self._keep_position(), name=f"position-{self.role}-{self.partition}")
        try:
            await self._feed.run()
        finally:
            await end([keeper, *self._early.values()])

    async def hand_over(self, letter: entry_pb2.DeadLetter) -> None:
        """Hands a dead letter to the handler, once.

        Raises:
            Exception: whatever the handler raises.
        """
        aggregate = AggregateId(letter.tenant, letter.kind, letter.id)
        events = entries.recorded(entries.parse(letter.entry))
        await self._call(Delivered(aggregate, letter.seq, events, letter.tries))

    async def _take(self, message: Msg) -> bool:
        seq = message.metadata.sequence.stream
        tries = (message.metadata.num_delivered or 1) - 1
        aggregate = aggregate_of(message.subject)
        try:
            entry = entries.parse(message.data)
        except HistoryGap as error:
            await self._bury(Delivered(aggregate, seq, (), tries), message.data, 1, error.reason)
            return True
        if not entry.events:  # it opened an aggregate in this life of the log
            async for found in self._earlier.left(aggregate, int(entry.base_seq)):
                await self._hand_found(found, tries)
            return True
        announced = await self._stored.wait(seq, _ANNOUNCED_WITHIN - max(0.0, _age(message)))
        if not announced and (early := self._early.get(seq)) is not None:
            await asyncio.wait({early})
            announced = self._stored.knows(seq)
        if not announced and not await self._settle(aggregate, int(entry.first_version), seq):
            return True  # void: nobody may act on it
        await self._hand(Delivered(aggregate, seq, entries.recorded(entry), tries), message.data)
        return True

    def _ask_early(self, message: Msg) -> None:
        """An old entry's announcement was missed: it is asked for with all others that have come, not when its turn has."""
        seq = message.metadata.sequence.stream
        if _age(message) < _ANNOUNCED_WITHIN or self._stored.knows(seq) or seq in self._early:
            return
        self._early[seq] = task = asyncio.create_task(self._settle_early(message))
        task.add_done_callback(lambda _: self._early.pop(seq, None))

    async def _settle_early(self, message: Msg) -> None:
        seq = message.metadata.sequence.stream
        try:
            entry = entries.parse(message.data)
            if entry.events and await self._desk.settle(aggregate_of(message.subject), int(entry.first_version), seq):
                self._stored.add(seq)
        except LedgerError:
            return  # it is asked again when its turn has come

    async def _settle(self, aggregate: AggregateId, first_version: int, seq: int) -> bool:
        """Asks the owner until it answers: True where the entry is stored, False where it is void."""
        wait = 0.05
        while True:
            try:
                return await self._desk.settle(aggregate, first_version, seq)
            except LedgerError as error:
                self._tell_of_outage(error.reason)
                if await self._stored.wait(seq, wait):
                    return True  # it was announced after all
                wait = min(2.0, wait * 2)

    def _tell_of_outage(self, reason: str) -> None:
        """One line for all entries that wait for the same owner."""
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            _log.warning("settle_waits", role=self.role, source=self.source, partition=self.partition, reason=reason)

    async def _hand(self, delivered: Delivered, data: bytes) -> None:
        """Tries until it is taken, or given up and kept as a dead letter."""
        failures, wait = 0, 0.05
        reason = "CRASHED"
        while failures < _TRIES and delivered.tries < _CRASHES:
            try:
                await self._call(delivered)
                return
            except Exception as error:  # noqa: BLE001 - whatever a handler does, the rest must flow on
                outage = getattr(error, "retry_after", None) is not None
                reason = getattr(error, "reason", "") or type(error).__name__
                failures += 0 if outage else 1
                _log.warning(
                    "event_not_taken", role=self.role, source=self.source, seq=delivered.seq, reason=reason, outage=outage,
                    exc_info=not outage,
                )  # fmt: skip
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2.0, wait * 2)
        await self._bury(delivered, data, failures, reason)

    async def _call(self, delivered: Delivered) -> None:
        parent = next((event.traceparent for event in delivered.events if event.traceparent), None)
        attributes = {"ledger.role": self.role, "ledger.source": self.source, "ledger.kind": delivered.aggregate.kind}
        with self._tracer.span(f"consume {self.role}", parent, "consumer", attributes) as span:
            handed = Delivered(
                delivered.aggregate, delivered.seq, delivered.events, delivered.tries, span.traceparent or parent
            )
            async with asyncio.timeout(_HANDLER_TIMEOUT):
                await self._handle(handed)

    async def _bury(self, delivered: Delivered, data: bytes, failures: int, reason: str) -> None:
        aggregate = delivered.aggregate
        letter = entry_pb2.DeadLetter(
            role=self.role, source=self.source, kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id,
            seq=delivered.seq, tries=delivered.tries + failures, reason=reason, at_us=time.time_ns() // 1000, entry=data,
        )  # fmt: skip
        wait = 0.05
        while True:
            try:
                await self._letters.put(letter)
                break
            except LogUnavailable:
                await asyncio.sleep(wait)
                wait = min(2.0, wait * 2)
        _log.error("dead_letter", role=self.role, source=self.source, seq=delivered.seq, reason=reason)

    async def _catch_up(self) -> None:
        """What was not taken while the log held it, out of the owner's store: of earlier lives it is opened, and handed over where this
        life's log says that it was; what aged out, of this life too, is handed over here."""
        kept = await self._archive.position(self.role, self.source, self.partition)
        first = await self._feed.first()
        await self._earlier.begin(kept.seq if kept is not None else None)
        if kept is not None and kept.seq < first - 1:
            opening = first == self.epoch  # and every such entry is still in the log
            after = kept.seq if opening else self._earlier.least(kept.seq)
            async for found in self._earlier.opened(after, first):
                if not opening and not self._has_taken(found.seq, kept.seq):
                    await self._hand_found(found, 0)
        if kept is None or kept.seq < first - 1:
            await self._archive.put_position(self.role, self.source, self.partition, Position(self.epoch, first - 1))

    def _has_taken(self, seq: int, kept: int) -> bool:
        return seq <= kept if seq >= self.epoch else self._earlier.taken(seq)

    async def _hand_found(self, found: entry_pb2.ScannedEntry, tries: int) -> None:
        if events := entries.recorded(entries.parse(found.entry)):
            aggregate = AggregateId(found.tenant, found.kind, found.id)
            await self._hand(Delivered(aggregate, found.seq, events, tries), found.entry)

    async def _keep_position(self) -> None:
        """Keeps the place in the store too, so that a lost log loses no event for this consumer."""
        kept = 0
        while True:
            await asyncio.sleep(_KEEP_POSITION)
            try:
                floor = await self._feed.floor()
                if floor > kept and floor >= self.epoch:
                    await self._archive.put_position(
                        self.role, self.source, self.partition, Position(self.epoch, floor)
                    )
                    kept = floor
            except (TimeoutError, NatsError, LedgerError) as error:
                _log.warning("position_not_kept", role=self.role, source=self.source, error=type(error).__name__)


def _age(message: Msg) -> float:
    """Seconds since an entry was appended, as the two clocks have it."""
    return time.time() - message.metadata.timestamp.timestamp()


def _before(message: Msg) -> int:
    """The entry before this one of the same aggregate."""
    try:
        return int(entries.parse(message.data).base_seq)
    except HistoryGap:
        return 0  # unreadable: it is buried
