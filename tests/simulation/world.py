"""One world: made from a plan, played to its end, and judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.ledger.ids import AggregateId
from tests.simulation.borrowed import borrowed
from tests.simulation.broker import Broker
from tests.simulation.cluster import Cluster
from tests.simulation.faults import Faults
from tests.simulation.loop import Stuck, VirtualLoop
from tests.simulation.people import People
from tests.simulation.plan import Ask, Plan
from tests.simulation.recovery import Operator
from tests.simulation.servers import Server
from tests.simulation.streams import Message
from tests.simulation.truth import Trace, Truth
from tests.simulation.weather import Network
from tests.tally import tally

_CALM_WITHIN = 90.0
_MOST_STEPS = 400_000
_FIRST_LATE = 1000


@dataclass(frozen=True)
class Outcome:
    """How a world ended.

    Attributes:
        broken: the invariant that did not hold; None where all did.
        hash: of everything that happened.
    """

    broken: str | None
    trace: Trace
    steps: int
    seconds: float

    @property
    def hash(self) -> str:
        """Of everything that happened."""
        return self.trace.hash()


class World:
    """All parts of one world."""

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        self.plan, self.loop = plan, loop
        self.trace = Trace()
        self._log = Network(loop, random.Random(f"log {plan.seed}"))
        self._store = Network(loop, random.Random(f"store {plan.seed}"))
        self.cluster = Cluster(self._store, plan.copies)
        self.truth = Truth(self.cluster.copies, self.cluster.quorum)
        self.broker = Broker(self._log, self._may_leave)
        self.broker.behind = plan.behind
        self.broker.noticed = self._appended
        self.cluster.touched = self.truth.touched
        self.servers = [
            Server(loop, f"s{number}", plan, self.broker, self.cluster, self.truth, self.trace)
            for number in range(plan.servers)
        ]
        chance = random.Random(f"people {plan.seed}")
        self.people = People(self.servers, self.truth, self.trace, chance)
        self.operator = Operator(loop, plan, self.broker, self.cluster, self.truth, self.trace, chance)
        self.faults = Faults(self.servers, self._log, self._store, self.operator)

    async def play(self) -> None:
        """Lets all of it happen, then waits until everything works again."""
        plan = self.plan
        for server in self.servers:
            server.start()
        for fault in plan.faults:
            self.faults.plan(fault)
        watches = [
            asyncio.ensure_future(self.people.watch(tally(f"t{number % plan.tallies}")))
            for number in range(plan.watchers)
        ]
        work = [asyncio.ensure_future(self.people.ask(ask)) for ask in plan.asks]
        work += [asyncio.ensure_future(self.people.look(look)) for look in plan.looks]
        await asyncio.gather(*work)
        over = max((fault.at + 2.0 * fault.length + 4.0 for fault in plan.faults), default=0.0)
        await asyncio.sleep(max(0.0, over - self.loop.now))
        while self.operator.busy:
            await asyncio.sleep(0.5)
        self.trace.add(self.loop.now, "world", "is calm")
        try:
            async with asyncio.timeout(_CALM_WITHIN):
                await self._recovers()
        except TimeoutError:
            self.truth.breaks(f"{_CALM_WITHIN} s after the last fault not everything works again")
        for watch in watches:
            watch.cancel()

    async def _recovers(self) -> None:
        """Every server takes a new request to every tally, answers every old one as before, and shows everything."""
        plan, people = self.plan, self.people
        for server in self.servers:
            server.armed.clear()
        number = _FIRST_LATE
        for place, server in enumerate(self.servers):
            for one in range(plan.tallies):
                number += 1
                late = Ask(number, one, ((self.loop.now, place),), self.loop.now)
                while await people.send(late, server) is None and self.truth.broken is None:
                    await asyncio.sleep(0.25)
        for ask in plan.asks:
            await people.send(ask, people_choice(self.servers, ask))
        for server in self.servers:
            for one in range(plan.tallies):
                await self._seen(tally(f"t{one}"), server)
        while self.truth.replaying and self.truth.broken is None:
            await asyncio.sleep(0.25)
        if plan.consumer:
            for one in range(plan.tallies):
                while self.truth.handed_upto(tally(f"t{one}")) < self.truth.floor.get(tally(f"t{one}"), 0):
                    await asyncio.sleep(0.25)

    async def _seen(self, aggregate: AggregateId, server: Server) -> None:
        while not await self.people.history(aggregate, server) and self.truth.broken is None:
            await asyncio.sleep(0.25)
        while not await self.people.read(aggregate, server) and self.truth.broken is None:
            await asyncio.sleep(0.25)

    async def end(self) -> None:
        """Kills what is left."""
        for server in self.servers:
            server.stop()
        self.operator.leave()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=60.0)

    def _may_leave(self, message: Message) -> bool:
        """Rule 10: only what a quorum of the store's copies has, or has passed over; and what the consumer took."""
        if self.plan.consumer:
            durables = [d for stream in self.broker.streams.values() for d in stream.durables.values()]
            if any(durable.floor < message.seq for durable in durables):
                return False
        key = ".".join(message.subject.split(".")[4:])
        return self._stored_upto(key) >= message.seq

    def _stored_upto(self, subject: str) -> int:
        tenant, kind, ident = subject.split(".")
        key = f"{tenant}/{kind}/{ident}"
        heads = sorted(
            (part.head.seq if (part := copy.parts.get(key)) is not None and part.head is not None else 0)
            for copy in self.cluster.copies
        )
        return heads[len(heads) - self.cluster.quorum]

    def _appended(self, subject: str, _stream: object, message: Message) -> None:
        if subject.startswith("ledger."):
            self.trace.add(
                self.loop.now, "log", f"takes {subject.split('.')[-1]} seq {message.seq - 1_767_225_600_000_000}"
            )


def people_choice(servers: list[Server], ask: Ask) -> Server:
    """Another server than the request was sent to first, where there is one."""
    return servers[(ask.sent[0][1] + 1) % len(servers)]


def run(plan: Plan) -> Outcome:
    """Plays a plan."""
    loop = VirtualLoop(_MOST_STEPS)
    with _current(loop), borrowed(loop, plan):
        world: World | None = None

        async def play() -> None:
            nonlocal world
            world = World(plan, loop)
            playing = asyncio.ensure_future(world.play())
            await playing

        broken: str | None = None
        try:
            loop.run_until_complete(play())
        except Stuck as stuck:
            broken = str(stuck)
        assert world is not None
        world.truth.ended = True
        seconds, steps = loop.now, loop.steps
        broken = world.truth.broken or broken or (loop.errors[0] if loop.errors else None)
        loop.allow(200_000)
        loop.run_until_complete(world.end())
        loop.close()
    return Outcome(broken, world.trace, steps, seconds)


@contextmanager
def _current(loop: VirtualLoop) -> Iterator[None]:
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
