"""The door to the ledger: what a service holds. See `services.ledger` for the idea."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import structlog
from nats.aio.client import Client
from tradewind.ledger.v1 import entry_pb2

from services.ledger import entries
from services.ledger.aggregate import Aggregate
from services.ledger.archive import Archive, Row
from services.ledger.beginning import when_reachable
from services.ledger.clock import SYSTEM, Clock
from services.ledger.consumer import Handler
from services.ledger.cursor import Watcher
from services.ledger.deadletters import DeadLetters
from services.ledger.decider import Kind, Receipt, Recorded, Request, View
from services.ledger.desk import LocalDesk
from services.ledger.ending import end
from services.ledger.engine import Counters, Engine, Limits, Tracer
from services.ledger.errors import DeadlineExceeded, HistoryGap, LogLost, LogUnavailable
from services.ledger.guard import Guard
from services.ledger.handover import Handover
from services.ledger.ids import AggregateId
from services.ledger.jetstream import JetStreamLog
from services.ledger.loading import Loader
from services.ledger.log import LogSettings
from services.ledger.publisher import Publisher
from services.ledger.reconnects import catch_up, follow_reconnects
from services.ledger.repair import Repair
from services.ledger.ring import Wrap
from services.ledger.sources import Source, Sources
from services.ledger.stored import Announcer, StoredEntries
from services.ledger.tail import Tail
from services.ledger.timers import TimerHandler, Timers, rearm

_log = structlog.get_logger(__name__)
_LONGEST_WAIT = 3600.0
_LOOK_AT = 128
_MOST_STANDING = 100_000


class Ledger:
    """One service's ledger in one process. Made by `open`, let go by `close`."""

    def __init__(
        self, nats: Client, archive: Archive, publisher: Publisher, tracer: Tracer, settings: LogSettings, epoch: int,
        identity: str, kinds: Iterable[Kind[Any, Any, Any]], limits: Limits, clock: Clock,
    ) -> None:  # fmt: skip
        self._nats, self._archive, self._publisher, self._tracer = nats, archive, publisher, tracer
        self.settings, self.epoch = settings, epoch
        self.writer = f"{settings.service}@{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._announcer = Announcer(nats, settings.service, epoch, self.writer)
        self._stored = StoredEntries(self.writer, self._heard)
        log = JetStreamLog(nats, publisher, settings.service, epoch, settings.partitions, archive.newest_seq)
        # An append at fence 0 must count as late long before what it did not see can have aged out (rule 3).
        limits = replace(limits, fence_zero_within=min(limits.fence_zero_within, settings.max_age / 4))
        self._handover = Handover(nats, settings.service, epoch, self.writer, self._outdated)
        self.engine = Engine(log, archive, self.writer, tracer, self._was_stored, limits, clock, self._handover)
        self.engine.identity = identity
        self._guard = Guard(self.engine, identity)
        self._repair = Repair(archive, log, self._stored, self.refresh, identity)
        archive.trust(self._stored.knows)
        self._kinds = {kind.name: (kind, Loader(kind, self.engine)) for kind in kinds}
        self._residents: dict[AggregateId, Aggregate] = {}
        self._standing: dict[AggregateId, None] = {}
        self._desk = LocalDesk(archive, self.refresh, self._stored, settings.partitions, self._still_counts, epoch)
        self._letters = DeadLetters(nats, publisher, settings.service)
        self._timers = Timers(nats, publisher, tracer, settings.service, epoch, settings.partitions)
        self._sources = Sources(
            nats, archive, self._letters, tracer, self.writer, self._start,
            own=Source(settings.service, epoch, settings.partitions, self._desk, self._stored),
        )  # fmt: skip
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    @classmethod
    async def open(
        cls, nats: Client, archive: Archive, tracer: Tracer, settings: LogSettings,
        kinds: Iterable[Kind[Any, Any, Any]], limits: Limits | None = None, clock: Clock = SYSTEM,
    ) -> Ledger:  # fmt: skip
        """Finds or begins the current life of the log and serves it: repair, settling, announcements.

        Waits for a log that cannot be reached yet.

        Raises:
            LogLost, StoreLost: an operator must recover.
            StoreUnavailable: the archive does not answer.
        """
        epoch, identity = await when_reachable(nats, archive, settings, clock)
        publisher = Publisher(nats)
        await publisher.start()
        ledger = cls(nats, archive, publisher, tracer, settings, epoch, identity, kinds, limits or Limits(), clock)
        await ledger._stored.listen(nats, settings.service, epoch)
        await ledger._handover.listen()
        await ledger._desk.serve(nats, settings.service)
        ledger._start(ledger._repair.run(), "repair")
        ledger._start(ledger._guard.run(), "guard")
        again = follow_reconnects(nats, lambda: list(ledger._residents.values()), ledger.engine.hearers.reconnected)
        ledger._start(again, "reconnects")
        return ledger

    @property
    def over(self) -> asyncio.Event:
        """Set once another life of the log, or another store, took the place of this one: end this process and start it again."""
        return self._guard.over

    @property
    def counters(self) -> Counters:
        """What happened in this process so far."""
        return self.engine.counters

    def submit(
        self, aggregate: AggregateId, command: Any, request: Request, timeout: float = 10.0
    ) -> asyncio.Future[Receipt]:
        """Queues a command; the future carries its receipt, or raises as `execute` does.

        Raises:
            Overloaded: too many commands wait on this aggregate.
            InvalidRequestId: the request id is no UUIDv7.
            Unavailable: the process is ending, or the log was lost.
        """
        if self._closing:
            raise LogUnavailable("the process is ending")
        if self._guard.refusal is not None:
            raise LogLost(self._guard.refusal)
        until = self.engine.clock.monotonic() + timeout
        return self._resident(aggregate).submit(command, request, until)

    async def execute(self, aggregate: AggregateId, command: Any, request: Request, timeout: float = 10.0) -> Receipt:
        """Decides a command, writes its events into log and store, and answers.

        `timeout`: seconds; a command not decided by then is not decided at all.

        Raises:
            The domain's refusal.
            RequestIdReused, InvalidRequestId, Overloaded, Contention: nothing was written.
            LogUnavailable, StoreUnavailable, DeadlineExceeded: the outcome may be unknown; the same request id settles it.
            HistoryGap: an operator must restore.
        """
        future = self.submit(aggregate, command, request, timeout)
        try:
            async with asyncio.timeout(min(timeout, _LONGEST_WAIT)):
                return await future
        except TimeoutError as error:
            raise DeadlineExceeded("the deadline passed; the outcome is unknown") from error

    async def read(self, aggregate: AggregateId, *, fresh: bool = True, at_least: int = 0) -> View[Any]:
        """The aggregate as stored. With `fresh` the log is asked first whether another process wrote; while it cannot be asked, the
        store alone answers. Without it, what is remembered will do from version `at_least` on: who was handed an event asks for its
        version, as an entry is stored, and handed on, a moment before its writer has taken it over.

        Raises:
            StoreUnavailable, HistoryGap: it cannot be read.
        """
        resident = self._resident(aggregate)
        if not fresh and resident.current and resident.standing is not None and resident.version >= at_least:
            return View(resident.standing.state, resident.standing.version)
        try:
            return await self.refresh(aggregate)
        except LogUnavailable:
            standing = await self._kinds[aggregate.kind][1].read_stored(aggregate)
            return View(standing.state, standing.version)

    async def refresh(self, aggregate: AggregateId) -> View[Any]:
        """The aggregate as log and store have it now; what the store lacks is stored. Repair is nothing else.

        Raises:
            LogUnavailable, StoreUnavailable, HistoryGap: it cannot be loaded.
        """
        return await self._resident(aggregate).refresh()

    async def read_at(self, aggregate: AggregateId, version: int) -> View[Any]:
        """The aggregate as it was after a version.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        return View(await self._kinds[aggregate.kind][1].replay.state_at(aggregate, version), version)

    async def history(
        self, aggregate: AggregateId, *, after: int = 0, before: int | None = None, limit: int
    ) -> list[Recorded]:
        """Events after a version, oldest first; or with `before` those before it, newest first. At most `limit`.

        Raises:
            StoreUnavailable: they cannot be read.
            LogUnavailable: an earlier life of the log left them, and only this life can say that they stand (rule 2).
        """
        asked_at = self.engine.clock.monotonic()
        opened = await self._stands(aggregate)
        found: list[Recorded] = []
        while len(found) < limit:
            page = await self._archive.entries(aggregate.key, after=after, before=before, limit=min(limit, 256))
            if not opened and any(stored.seq < self.epoch for stored in page):
                # An earlier life's writer stored it just now: the load tells whether it stands.
                await self.refresh(aggregate)
                opened = True
                continue
            events = [event for stored in page for event in _ordered(stored.data, newest_first=before is not None)]
            news = [e for e in events if (e.version > after if before is None else e.version < before)]
            holed = before is None and bool(news) and news[0].version != after + 1
            if holed or not (found or news):
                await self.engine.confirm_life()  # a store that was wiped a moment ago has nothing, or a hole
            if holed:
                raise HistoryGap("the store holds this aggregate only in part", kind=aggregate.kind)
            if not news:
                break
            found += news
            after, before = (news[-1].version, None) if before is None else (0, news[-1].version)
        await self.engine.still_counts(asked_at)
        return found[:limit]

    async def _still_counts(self) -> None:
        await self.engine.still_counts(self.engine.clock.monotonic())

    async def _stands(self, aggregate: AggregateId) -> bool:
        """Rule 2: what an earlier life left is shown only once this life holds an entry that continues it. False: there was nothing."""
        if aggregate in self._standing:
            return True
        resident = self._residents.get(aggregate)
        if resident is not None and resident.standing is not None:
            return resident.standing.last_seq >= self.epoch
        head = await self._archive.head(aggregate.key)
        if head is None or head.seq < self.epoch:
            if not (await self.refresh(aggregate)).version:
                return False
        elif not self._repair.through:  # a restored store may lack what the log has
            try:
                await self.refresh(aggregate)
            except LogUnavailable:
                return True
        self._standing[aggregate] = None
        if len(self._standing) > _MOST_STANDING:
            for oldest in list(islice(self._standing, _MOST_STANDING // 4)):
                del self._standing[oldest]
        return True

    def watcher(self, wrap: Wrap | None = None, *, pace: float = 0.0) -> Watcher:
        """A new stream's places; close it at the stream's end. See `cursor.Watcher`."""
        return Watcher(self._resident, self._archive, wrap, pace=pace)

    async def row(self, table: str, partition: str, key: str) -> Row | None:
        """One row of a read model; see `Archive.row`."""
        return await self._archive.row(table, partition, key)

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        """A page of a read model; see `Archive.rows`."""
        return await self._archive.rows(table, partition, after=after, limit=limit, descending=descending)

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """Upserts rows of a read model that a consumer keeps; see `Archive.put_rows`."""
        await self._archive.put_rows(rows)
        self.engine.hearers.rows(rows)

    def consume(self, role: str, handle: Handler, source: str | None = None, kind: str | None = None) -> None:
        """Starts a durable consumer of a service's log (default: its own), in every partition; see `consumer.Consumer`.

        `kind`: only entries of this kind of aggregate are wanted; what a role wants never changes.
        """
        self._start(self._sources.consume(role, source or self.settings.service, handle, kind), f"consume-{role}")

    def tail(self, role: str, partition: int) -> Tail:
        """A reader of one partition of the own log, strictly in order; see `tail.Tail`."""
        return Tail(
            self._nats, self._archive, self._desk, self._stored,
            # What it makes of the log is in the store too: in another store it begins anew.
            role=f"{role}-{self.engine.identity}", source=self.settings.service, epoch=self.epoch, partition=partition,
        )  # fmt: skip

    async def arm(self, aggregate: AggregateId, *, anew: bool = False) -> None:
        """Schedules what the aggregate's state waits for (`Kind.timers`); `anew`: also where this process did so for the same time.

        Raises:
            LogUnavailable, StoreUnavailable: not armed; try again.
        """
        view = await self.read(aggregate, fresh=False)
        await self._timers.arm(aggregate, self._kinds[aggregate.kind][0].timers(view.state), anew=anew)

    def on_timer(self, handle: TimerHandler) -> None:
        """Starts handing due timers to `handle(aggregate, name)`, at least once each."""
        self._start(rearm(self._archive, self.settings.service, self.epoch, self.arm), "rearm-timers")
        for feed in self._timers.feeds(handle):
            self._start(feed.run(), "timers")

    async def dead_letters(self, after: int, limit: int) -> Sequence[tuple[int, entry_pb2.DeadLetter]]:
        """Events that consumers here could not take; see `deadletters.DeadLetters.list`."""
        return await self._letters.list(after, limit)

    async def replay(self, letter_id: int) -> str | None:
        """Hands a dead letter over once more: "" taken and removed, else the reason it failed; None where there is none.

        Raises:
            LogUnavailable: the letters cannot be read now.
        """
        letter = await self._letters.get(letter_id)
        if letter is None:
            return None
        consumer = self._sources.consumer(letter.role, letter.source)
        if consumer is None:
            return "NO_SUCH_CONSUMER"
        try:
            await consumer.hand_over(letter)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the operator's answer
            return getattr(error, "reason", "") or type(error).__name__
        await self._letters.remove(letter_id)
        return ""

    async def close(self) -> None:
        """Stops consuming, lets what is under way end, and lets go."""
        self._closing = True
        await end(self._tasks)
        await self._desk.close()
        under_way = [resident.task for resident in self._residents.values() if resident.task is not None]
        if under_way:
            await asyncio.wait(under_way, timeout=5.0)
        await asyncio.gather(*self.engine.aside)
        await self._handover.close()
        await self._announcer.close()
        await self._publisher.close()

    def _resident(self, aggregate: AggregateId) -> Aggregate:
        resident = self._residents.get(aggregate)
        if resident is None:
            if len(self._residents) >= self.engine.limits.residents:
                self._let_go()
            kind, loader = self._kinds[aggregate.kind]
            resident = self._residents[aggregate] = Aggregate(aggregate, kind, loader, self.engine)
        return resident

    def _let_go(self) -> None:
        """Lets go of the longest-held aggregates that nobody waits on or watches."""
        for key in list(islice(self._residents, _LOOK_AT)):
            resident = self._residents.pop(key)
            if resident.idle:
                resident.drop_ring()
            else:  # it goes to the end, so that the next look finds others
                self._residents[key] = resident

    def _was_stored(self, aggregate: AggregateId, seq: int, version: int) -> None:
        self._stored.add(seq)
        self._announcer.announce(aggregate, seq, version)
        self.engine.hearers.stored(aggregate, version)

    def _outdated(self, aggregate: AggregateId, version: int) -> None:
        resident = self._residents.get(aggregate)
        if resident is not None and resident.version < version:
            resident.current = False

    def _heard(self, stored: entry_pb2.Stored) -> None:
        """Another process stored entries: what is watched here catches up, all else does so when it is next used."""
        for entry in stored.entries:
            aggregate = AggregateId(entry.tenant, entry.kind, entry.id)
            self._outdated(aggregate, entry.version)
            self.engine.hearers.stored(aggregate, entry.version)
            resident = self._residents.get(aggregate)
            if resident is not None and resident.version < entry.version and resident.watchers and not self._closing:
                self._start(catch_up(resident), "catch-up")

    def _start(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("task_failed", task=task.get_name(), exc_info=task.exception())


def _ordered(data: bytes, *, newest_first: bool) -> Sequence[Recorded]:
    events = entries.recorded(entries.parse(data))
    return events[::-1] if newest_first else events
