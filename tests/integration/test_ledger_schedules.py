"""Random schedules over several servers with crashes, restarts and lost answers: the five promises of the protocol hold in each."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ledger.cursor import Watcher
from services.ledger.errors import LedgerError
from services.ledger.ledger import Ledger
from services.ledger.log import stream_name
from tests.integration.ledger_world import Seen, decoded, fresh_service, lose_answers, reckon, whole_history
from tests.servers import NatsServer
from tests.tally import Add, Refused, open_ledger, request, tally

TILLS = [tally("left"), tally("right")]

steps = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 2), st.integers(0, 1), st.integers(0, 11)),
    st.tuples(st.just("burst"), st.integers(0, 2), st.integers(0, 1), st.integers(0, 11)),
    st.tuples(st.just("lose an answer"), st.integers(0, 2), st.just(0), st.just(0)),
    st.tuples(st.just("die"), st.integers(0, 2), st.integers(0, 1), st.integers(0, 11)),
    st.tuples(st.just("restart"), st.integers(0, 2), st.just(0), st.just(0)),
    st.tuples(st.just("age out"), st.just(0), st.integers(0, 1), st.just(0)),
)


@dataclass
class World:
    """Three servers of one service, and what their callers were told."""

    url: str
    file: Path
    service: str
    servers: dict[int, tuple[Ledger, AsyncExitStack]] = field(default_factory=dict)
    told: dict[tuple[int, int], tuple[int, int, tuple[bytes, ...]]] = field(default_factory=dict)
    refused: set[tuple[int, int]] = field(default_factory=set)

    async def server(self, number: int) -> Ledger:
        """A running server."""
        if number not in self.servers:
            stack = AsyncExitStack()
            ledger = await stack.enter_async_context(open_ledger(self.url, self.file, service=self.service))
            self.servers[number] = ledger, stack
        return self.servers[number][0]

    async def end(self, number: int) -> None:
        """Ends a server."""
        if number in self.servers:
            await self.servers.pop(number)[1].aclose()

    async def add(self, number: int, till: int, name: int) -> None:
        """Sends a request, maybe not for the first time; whatever is told must be what was told before."""
        ledger = await self.server(number)
        amount = name - 4  # some take, and may be refused
        try:
            receipt = await ledger.execute(TILLS[till], Add(amount), request(name, amount))
        except (Refused, LedgerError):
            return
        facts = receipt.first_version, receipt.last_version, receipt.payloads
        if receipt.payloads:
            assert self.told.setdefault((till, name), facts) == facts

    async def die(self, number: int, till: int, name: int) -> None:
        """A server that appends and is gone before it stores or answers."""
        ledger = await self.server(number)
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def pause(point: str) -> None:
            if point == "appended":
                if not gone.done():
                    gone.set_result(None)
                raise _Dead

        ledger.engine.pause = pause
        task = asyncio.create_task(ledger.execute(TILLS[till], Add(name - 4), request(name, name - 4)))
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
        await asyncio.wait([task])
        task.exception()
        await self.end(number)

    async def age_out(self, till: int, seen: Seen) -> None:
        """What is stored, and consumed, leaves the log."""
        ledger = await self.server(0)
        if version := (await ledger.refresh(TILLS[till])).version:
            await seen.until(TILLS[till], version)
        await ledger._nats.jetstream().purge_stream(
            stream_name(ledger.settings.service, ledger.epoch), subject=ledger.engine.log.subject(TILLS[till])
        )


class _Dead(Exception):
    """The process is no more."""


async def read_all(watcher: Watcher, shown: dict[str, list[bytes]], versions: dict[str, int]) -> None:
    """Reads until each tally was shown up to a version."""
    while any(len(shown.get(name, [])) < version for name, version in versions.items()):
        for frame in await asyncio.wait_for(watcher.ready(), 60):
            events = shown.setdefault(frame.aggregate.id, [])
            assert frame.first == len(events) + 1
            events += decoded(frame.data)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(schedule=st.lists(steps, min_size=4, max_size=18))
async def test_the_five_promises_hold(nats_server: NatsServer, schedule: list[tuple[str, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(nats_server.url, Path(folder) / "a.db", fresh_service())
        async with open_ledger(world.url, world.file, service=world.service) as onlooker:
            seen, watcher, shown = Seen(), onlooker.watcher(), dict[str, list[bytes]]()
            onlooker.consume("reader", seen)
            for till in TILLS:
                await watcher.add(till, after=0)
            for what, number, till_number, name in schedule:
                if what == "add":
                    await world.add(number, till_number, name)
                elif what == "burst":
                    await asyncio.gather(
                        *(world.add(n % 3, till_number, (name + n) % 12) for n in range(number, number + 9))
                    )
                elif what == "lose an answer":
                    lose_answers(await world.server(number))
                elif what == "die":
                    await world.die(number, till_number, name)
                elif what == "restart":
                    await world.end(number)
                else:
                    await world.age_out(till_number, seen)
            versions = {}
            for till_number, till in enumerate(TILLS):
                await onlooker.execute(till, Add(1), request("the end"))  # (5) when faults end, commands go through
                await reckon(onlooker, till)
                history = await whole_history(onlooker, till)  # (2) dense and unique
                versions[till.id] = len(history)
                ids = [event.request_id for event in history]
                assert len(ids) == len(set(ids))  # (4) applied at most once
                for (where, _), (first, last, payloads) in world.told.items():
                    if where == till_number:  # (1) what was acknowledged is there, as it was told
                        assert tuple(event.payload for event in history[first - 1 : last]) == payloads
            await read_all(watcher, shown, versions)
            for till in TILLS:  # (3) what was shown is true, and all of it was shown
                assert shown[till.id] == [event.payload for event in await whole_history(onlooker, till)]
                handed = await seen.until(till, versions[till.id])
                assert handed == list(range(1, versions[till.id] + 1))
            watcher.close()
            for number in list(world.servers):
                await world.end(number)
