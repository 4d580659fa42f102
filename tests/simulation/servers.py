"""A simulated server: one process after the other that serves a ledger, as `services.host` does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from services.ledger.clock import Clock
from services.ledger.decider import Delivered
from services.ledger.engine import Limits, NoTracer
from services.ledger.errors import LogLost, StoreUnavailable
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings
from tests.simulation.broker import Broker
from tests.simulation.client import SimulatedClient
from tests.simulation.cluster import Cluster
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.plan import D, Plan
from tests.simulation.store import SimulatedArchive
from tests.simulation.truth import Trace, Truth
from tests.tally import TALLY

T = TypeVar("T")
SERVICE = "tallies"
WALL_US = 1_767_225_600_000_000
"""Microseconds since 1970 at which the simulation begins."""


class Gone(Exception):
    """The server died, or is not there."""


class Server:
    """A place where a process serves; the next one takes over when it died or ended.

    Attributes:
        name: what the trace calls it.
        skew: seconds by which its wall clock is off.
        armed: step of a write to what happens there, once.
    """

    def __init__(
        self, loop: VirtualLoop, name: str, plan: Plan, broker: Broker, cluster: Cluster, truth: Truth, trace: Trace
    ) -> None:
        self._loop, self.name, self._plan = loop, name, plan
        self._broker, self._cluster, self._truth, self._trace = broker, cluster, truth, trace
        self.skew = 0.0
        self.armed: dict[str, Callable[[], None]] = {}
        self.process: Process | None = None
        self.client: SimulatedClient | None = None
        self._ledger: Ledger | None = None
        self._open: dict[asyncio.Future[Any], None] = {}
        self._serving: dict[asyncio.Future[Any], asyncio.Task[None]] = {}
        self._stopped = False

    def wall_us(self) -> int:
        """Its wall clock."""
        return WALL_US + int((self._loop.now + self.skew) * 1e6)

    def start(self) -> None:
        """Starts a process, if none is there."""
        if self.process is None and not self._stopped:
            self._trace.add(self._loop.now, self.name, "starts")
            self.process = Process(self._loop, self.name)
            self.client = SimulatedClient(self._broker, self.process)
            self.process.start(self._serve(self.process, self.client))

    def kill(self, restart_after: float) -> None:
        """SIGKILL, and another process after a while."""
        if self.process is None:
            return
        self._trace.add(self._loop.now, self.name, "dies")
        self._leave()
        self._broker.network.later(restart_after, self.start)

    def stop(self) -> None:
        """No process comes after this one."""
        self._stopped = True
        self._leave()

    def _leave(self) -> None:
        process, client = self.process, self.client
        self.process = self.client = self._ledger = None
        if client is not None:
            client.lose()
        if process is not None:
            process.kill()
        for future in list(self._open):
            if not future.done():
                future.set_exception(Gone())
        self._open.clear()

    def disconnect(self) -> None:
        """Its client notices that the log cannot be reached."""
        if self.client is not None:
            self.client.is_connected = False

    def reconnect(self) -> None:
        """Its client reaches the log again."""
        if self.client is not None:
            self.client.is_connected = True
            self.client.stats["reconnects"] += 1

    def pause(self, length: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        process = self.process
        if process is None or process.paused:
            return
        self._trace.add(self._loop.now, self.name, f"sleeps for {length:.2f} s")
        process.pause()

        def resume() -> None:
            if process.alive:
                self._trace.add(self._loop.now, self.name, "wakes up")
            process.resume()

        self._broker.network.later(length, resume)

    async def call(self, work: Callable[[Ledger], Awaitable[T]], timeout: float) -> T:
        """Has the process do something, as a client of it would.

        Raises:
            Gone: there is no process, or it died.
            TimeoutError: it did not answer.
            Exception: what the work raises.
        """
        process = self.process
        if process is None or self._ledger is None:
            await asyncio.sleep(0.05)
            raise Gone
        future: asyncio.Future[T] = self._loop.create_future()
        self._open[future] = None
        process.soon(self._begin, process, self._ledger, work, future)
        try:
            async with asyncio.timeout(timeout):
                return await future
        finally:
            self._open.pop(future, None)
            if not future.done() or future.cancelled():
                process.soon(self._hang_up, future)

    def serves(self, ledger: Ledger) -> bool:
        """True: this ledger is the living process's."""
        return self._ledger is ledger or (self.process is not None and ledger.over.is_set())

    def _hang_up(self, future: asyncio.Future[Any]) -> None:
        task = self._serving.pop(future, None)
        if task is not None:
            task.cancel()

    def _begin(
        self, process: Process, ledger: Ledger, work: Callable[[Ledger], Awaitable[Any]], future: asyncio.Future[Any]
    ) -> None:
        async def serve() -> None:
            answer: Any = None
            error: Exception | None = None
            try:
                answer = await work(ledger)
            except Exception as refused:  # noqa: BLE001 - whatever it is, it is the answer
                error = refused
            if process.alive:
                self._broker.network.later(0.0005, _settle, future, answer, error)

        if process.alive:
            task = self._serving[future] = process.start(serve())
            task.add_done_callback(lambda _task: self._serving.pop(future, None))

    async def _serve(self, process: Process, client: SimulatedClient) -> None:
        try:
            await self._run(process, client)
        except Exception as error:  # noqa: BLE001 - the process ends with it, and its supervisor starts another
            self._trace.add(self._loop.now, self.name, f"ends: {error!r}")
        if process.alive:
            self._leave()
            self._broker.network.later(0.5, self.start)

    async def _run(self, process: Process, client: SimulatedClient) -> None:
        archive = SimulatedArchive(self._cluster, process)
        ledger = await self._opened(client, archive)
        ledger.engine.pause = self._reached
        if self._plan.consumer:
            ledger.consume("reader", self._take)
        self._ledger = ledger
        self._trace.add(self._loop.now, self.name, f"serves life {ledger.epoch - WALL_US}")
        await ledger.over.wait()
        self._trace.add(self._loop.now, self.name, "ends: its life is over")
        self._ledger = None
        await ledger.close()
        await archive.close()

    async def _opened(self, client: SimulatedClient, archive: SimulatedArchive) -> Ledger:
        plan = self._plan
        settings = LogSettings(SERVICE, partitions=1, max_age=plan.max_age or 7 * 24 * 3600.0)
        limits = Limits(acknowledge_within=D, snapshot_every=plan.snapshot_every)
        clock = Clock(self._loop.time, self.wall_us)
        while True:
            try:
                return await Ledger.open(client, archive, NoTracer(), settings, [TALLY], limits, clock)  # type: ignore[arg-type]
            except (StoreUnavailable, LogLost) as error:
                self._trace.add(self._loop.now, self.name, "waits:", error)
            await asyncio.sleep(1.0)

    async def _take(self, delivered: Delivered) -> None:
        process = self.process
        if process is None or not process.alive:
            raise asyncio.CancelledError
        self._trace.add(
            self._loop.now, self.name, f"hands over {delivered.aggregate.id} v{[e.version for e in delivered.events]}"
        )
        self._truth.handed(delivered, self.name)

    async def _reached(self, point: str) -> None:
        happens = self.armed.pop(point, None)
        if happens is not None:
            self._trace.add(self._loop.now, self.name, f"is at the step {point!r}")
            happens()
            await asyncio.sleep(0)


def _settle(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
