"""What all aggregates of a service share: the log, the store, the limits, and who is told when an entry is stored."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from services.ledger.archive import Archive
from services.ledger.clock import SYSTEM, Clock
from services.ledger.errors import LogLost
from services.ledger.handover import Alone, Handover
from services.ledger.hearers import Hearers
from services.ledger.ids import AggregateId
from services.ledger.log import Log
from services.ledger.ring import Shelf


class Spanned(Protocol):
    """A span: a context manager that knows its W3C traceparent (None where nothing is recorded)."""

    @property
    def traceparent(self) -> str | None:
        """For what happens because of it."""

    def __enter__(self) -> Any:
        """Makes it the current span."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Ends it."""


class Tracer(Protocol):
    """What the ledger needs of tracing; `services.runtime.telemetry.Telemetry` provides it."""

    def span(
        self,
        name: str,
        parent: str | None = None,
        kind: str = "internal",
        attributes: Mapping[str, str | int | float | bool] | None = None,
    ) -> Spanned:
        """A span below a W3C traceparent; does nothing where there is none."""


class NoTracer:
    """Records nothing; for tools and tests."""

    traceparent: str | None = None

    def span(
        self,
        name: str,
        parent: str | None = None,
        kind: str = "internal",
        attributes: Mapping[str, str | int | float | bool] | None = None,
    ) -> Spanned:
        """See `Tracer.span`."""
        return self

    def __enter__(self) -> NoTracer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        return None


@dataclass(frozen=True)
class Limits:
    """Bounds of the ledger.

    Attributes:
        acknowledge_within: `D` of the protocol, seconds: a store's answer later than this after the append was sent counts
            only once this life of the log has answered again.
        fence_zero_within: seconds after the log was read during which an append at fence 0 counts.
        queue: most commands that may wait on one aggregate.
        batch: most commands in one entry.
        entry_bytes: size at which an entry takes no further command.
        command_bytes: most that the events of one command may be; below the log's largest message.
        residents: most aggregates kept in memory without a watcher.
        snapshot_every: events between two snapshots.
        attempts: tries of one batch against other writers.
    """

    acknowledge_within: float = 5.0
    fence_zero_within: float = 60.0
    queue: int = 20_000
    batch: int = 1024
    entry_bytes: int = 400_000
    command_bytes: int = 900_000
    residents: int = 20_000
    snapshot_every: int = 1000
    attempts: int = 30


@dataclass
class Counters:
    """What happened in this process, for metrics, benchmarks and tests."""

    appends: int = 0
    events: int = 0
    fences_lost: int = 0
    loads: int = 0
    repaired: int = 0
    look_ups: int = 0


@dataclass
class Engine:
    """The shared parts.

    Attributes:
        stored: called with (aggregate, seq, version) after each entry this process stored.
        hearers: who is told of every entry.
        aside: tasks that nobody waits for while they run.
        shelf: the rings of all watched aggregates, bounded together.
        clock: where time comes from.
        handover: how processes that write one aggregate come to their turns.
        pause: named points between the steps of a write, awaited where a test set one; None in production.
        identity: the store's, as this process found it; None: whichever.
        digest_key: where it is given, what is kept of a request's content is a digest that nobody can make without it. The same in
            all processes of a service: a request that is repeated over a change of it (not over its beginning) is taken for another.
        sure_at: monotonic time before this life of the log, and this store, were last seen to be the registered ones.
    """

    log: Log
    archive: Archive
    writer: str
    tracer: Tracer
    stored: Callable[[AggregateId, int, int], None]
    limits: Limits = field(default_factory=Limits)
    clock: Clock = SYSTEM
    handover: Handover | Alone = field(default_factory=Alone)
    counters: Counters = field(default_factory=Counters)
    pause: Callable[[str], Awaitable[None]] | None = None
    hearers: Hearers = field(default_factory=Hearers)
    aside: set[asyncio.Task[None]] = field(default_factory=set)
    shelf: Shelf = field(default_factory=Shelf)
    identity: str | None = None
    digest_key: bytes = b""
    sure_at: float = -math.inf
    _confirming: asyncio.Task[None] | None = None
    _next: asyncio.Task[None] | None = None

    def counts(self, since: float) -> bool:
        """Rule 5: whether what the store answered to a question asked after `since` counts without `confirm_life`.

        It counts within `D` of that moment, if also this life was seen to be the registered one within `D`: so nothing of a life is
        confirmed later than `D` after another one was registered, whoever still answers in its name.
        """
        return self.clock.monotonic() - min(since, self.sure_at) <= self.limits.acknowledge_within

    async def still_counts(self, since: float) -> None:
        """Confirms this life where what the store answered to a question asked after `since` does not count without.

        Raises:
            LogLost, StoreUnavailable: as `confirm_life`.
        """
        if not self.counts(since):
            await self.confirm_life()

    async def confirm_life(self) -> None:
        """Makes sure that this life of the log was still the registered one at some moment after this call began.

        An operator registers the next life first, and lets no process read the store in it before `2D` have passed: what was stored
        by then is seen by all of them. See docs/adr/0010-recovery.md.

        Raises:
            LogLost: another life is registered, or this is another store.
            StoreUnavailable: the store cannot be asked.
        """
        if self._next is None:  # those that come while one confirmation is under way share the one after it
            self._next = asyncio.get_running_loop().create_task(self._confirm(self._confirming))
            self._next.add_done_callback(_retrieved)
        await asyncio.shield(self._next)

    async def _confirm(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._confirming, self._next = self._next, None
        asked_at = self.clock.monotonic()
        if await self.archive.epoch(self.log.service) != self.log.epoch:
            raise LogLost("this life of the log is over")
        if self.identity is not None and await self.archive.identity() != self.identity:
            raise LogLost("this is another store than the one this process began with")
        self.sure_at = max(self.sure_at, asked_at)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts what nobody waits for but `Ledger.close`."""
        task = asyncio.get_running_loop().create_task(work)
        self.aside.add(task)
        task.add_done_callback(self.aside.discard)

    async def reached(self, point: str) -> None:
        """Marks a step between two effects; tests stop or kill the process here."""
        if self.pause is not None:
            await self.pause(point)


def _retrieved(task: asyncio.Task[None]) -> None:
    """Whoever waited for it may be gone."""
    if not task.cancelled():
        task.exception()
