"""The operator: recovers a lost log, restores a lost store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nats.errors import Error as NatsError

from services.ledger.clock import Clock
from services.ledger.errors import LedgerError
from services.ledger.lives import JetStreamLives
from services.ledger.log import LogSettings
from services.ledger.recovery import NotNow, put_in_charge, recover_log
from tests.simulation.broker import Broker
from tests.simulation.client import SimulatedClient
from tests.simulation.cluster import Cluster
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.plan import D, Plan
from tests.simulation.replicas import Copy
from tests.simulation.servers import SERVICE, WALL_US
from tests.simulation.store import SimulatedArchive
from tests.simulation.truth import Trace, Truth

T = TypeVar("T")
WAIT = 2 * D
"""Seconds between registering a new life and beginning it."""


class Operator:
    """Who is called when log or store are lost.

    Attributes:
        busy: things still to be done.
    """

    def __init__(
        self, loop: VirtualLoop, plan: Plan, broker: Broker, cluster: Cluster, truth: Truth, trace: Trace,
        chance: random.Random,
    ) -> None:  # fmt: skip
        self._loop, self._plan, self._truth, self._chance = loop, plan, truth, chance
        self.broker, self.cluster, self.trace = broker, cluster, trace
        self.busy = 0
        self._clock = Clock(loop.time, lambda: WALL_US + int(loop.now * 1e6))
        self._process = Process(loop, "operator")
        self._backup: list[Copy] = []

    def recover_log(self) -> None:
        """A new life of the log."""
        self.busy += 1
        self._process.start(self._recover_log())

    async def _recover_log(self) -> None:
        client = SimulatedClient(self.broker, self._process)
        archive = SimulatedArchive(self.cluster, self._process)
        settings = LogSettings(SERVICE, partitions=1, max_age=self._plan.max_age or 7 * 24 * 3600.0)
        lives = JetStreamLives(client, settings)  # type: ignore[arg-type]
        try:
            await self._patiently(
                lambda: recover_log(lives, archive, settings, self._tell, clock=self._clock, quiet=WAIT)
            )
        except NotNow as reason:
            self._tell(str(reason))
        self.busy -= 1

    def _tell(self, line: str) -> None:
        self.trace.add(self._loop.now, "operator", line)

    def leave(self) -> None:
        """Goes home."""
        self._process.kill()

    def back_up(self) -> None:
        """Keeps what a quorum has now."""
        self._backup = [copy.clone() for copy in self.cluster.copies]

    def lose_store(self, restored_after: float) -> None:
        """All data of the store are deleted; after a while what the backup holds is there again, as another store."""
        self.busy += 1
        if self._plan.max_age is not None:  # the log alone could not give back what aged out of it
            self.back_up()
        self.cluster.replace([Copy() for _ in self.cluster.copies])
        self._truth.store_lost()
        self.broker.network.later(restored_after, self._restore)

    def _restore(self) -> None:
        self._process.start(self._fill())

    async def _fill(self) -> None:
        """As `services.ledger.restoring.restore`, with the contents of a backup put there at once."""
        client = SimulatedClient(self.broker, self._process)
        archive = SimulatedArchive(self.cluster, self._process)
        lives = JetStreamLives(client, LogSettings(SERVICE))  # type: ignore[arg-type]
        newest = await self._patiently(lives.newest)
        since = self._loop.now
        await self._patiently(lambda: archive.put_identity("restoring"))
        self.cluster.take_in(self._backup)
        await self._patiently(
            lambda: put_in_charge(archive, SERVICE, newest or WALL_US, since, self._tell, clock=self._clock, quiet=WAIT)
        )
        self.busy -= 1

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await step()
            except (LedgerError, NatsError, TimeoutError) as error:
                self.trace.add(self._loop.now, "operator", f"waits: {error!r}")
            await asyncio.sleep(0.5)
