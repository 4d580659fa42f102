"""Limits over several processes: together a caller gets its rate, and what is beyond it is what the processes had not heard of each other.

Each process here is a connection of its own to a real nats-server, with buckets of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import SecretStr

from services.runtime import nats
from services.runtime.config import RuntimeSettings
from services.runtime.limits import RateLimiter
from services.runtime.sharing import Sharing
from tests.servers import NatsServer
from tests.tally import eventually

EVERY = 0.05
KEY = ("acme", "ann")


class Process:
    """One process's share of a limit."""

    def __init__(self, limiter: RateLimiter, sharing: Sharing) -> None:
        self.limiter, self.sharing = limiter, sharing
        self.let_through = 0

    def flood(self, tries: int) -> None:
        """Take as much as there is."""
        self.let_through += sum(not self.limiter.take(KEY) for _ in range(tries))


@asynccontextmanager
async def process(url: str, service: str, rate: float, burst: float) -> AsyncIterator[Process]:
    client = await nats.connect(RuntimeSettings(nats_urls=(SecretStr(url),)), "limits-test")
    limiter = RateLimiter(rate, burst, 1000, name="caller")
    sharing = Sharing(client, service, [limiter], every=EVERY)
    await sharing.start()
    try:
        yield Process(limiter, sharing)
    finally:
        await sharing.close()
        await client.close()


async def all_know(processes: list[Process]) -> None:
    async def known() -> bool:
        return all(each.sharing.processes == len(processes) and not each.sharing.cut_off for each in processes)

    await eventually(known)


async def test_together_they_let_through_what_one_would(nats_server: NatsServer) -> None:
    rate, burst = 200.0, 40.0
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        processes = [await enter(process(nats_server.url, "together", rate, burst)) for _ in range(3)]
        await all_know(processes)
        began = time.monotonic()
        longest, last = 0.0, began
        while time.monotonic() - began < 1.5:
            for each in processes:
                each.flood(100)
            await asyncio.sleep(0.005)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        seconds = time.monotonic() - began
        let_through = sum(each.let_through for each in processes)
        # What the others had not heard of: of two processes, what came in an interval, its way, and a pause of this test's own loop.
        unheard = 2 * (burst + rate * (EVERY + 2 * longest))
        assert burst <= let_through <= burst + rate * seconds + unheard
        # And it is worked off: a share of the limit that is as good as nothing was lost.
        assert let_through >= rate * seconds * 0.5


async def test_one_hears_of_what_another_let_through(nats_server: NatsServer) -> None:
    async with (
        process(nats_server.url, "heard", 1.0, 10.0) as one,
        process(nats_server.url, "heard", 1.0, 10.0) as two,
    ):
        await all_know([one, two])
        one.flood(100)
        assert one.let_through >= 10

        async def heard() -> bool:
            return two.limiter.take(KEY) > 1.0

        await eventually(heard)
        assert two.limiter.take(("acme", "bob")) == 0.0


async def test_a_turn_that_fails_is_followed_by_the_next(nats_server: NatsServer) -> None:
    class Broken(RateLimiter):
        """One that cannot say what was taken, once."""

        failures = 0

        def taken(self, most: int) -> list[tuple[tuple[str, ...], int]]:
            """Fail the first time."""
            self.failures += 1
            if self.failures == 1:
                raise RuntimeError("a defect")
            return super().taken(most)

    async with (
        process(nats_server.url, "broken", 1.0, 10.0) as one,
        process(nats_server.url, "broken", 1.0, 10.0) as two,
    ):
        broken = Broken(1.0, 10.0, 10, name="other")
        one.sharing.add([broken])

        async def failed() -> bool:
            return broken.failures > 1

        await eventually(failed)
        await all_know([one, two])


async def test_who_leaves_is_not_counted(nats_server: NatsServer) -> None:
    async with process(nats_server.url, "leaving", 1.0, 10.0) as one:
        async with process(nats_server.url, "leaving", 1.0, 10.0) as two:
            await all_know([one, two])
        await all_know([one])


async def test_cut_off_each_allows_its_part_and_then_all_again(own_nats_server: NatsServer) -> None:
    rate, burst = 0.01, 10.0
    async with (
        process(own_nats_server.url, "cut", rate, burst) as one,
        process(own_nats_server.url, "cut", rate, burst) as two,
    ):
        await all_know([one, two])
        own_nats_server.kill()

        async def cut_off() -> bool:
            return one.sharing.cut_off and two.sharing.cut_off

        await eventually(cut_off)
        began = time.monotonic()
        for each in (one, two):
            each.flood(100)
        let_through = one.let_through + two.let_through
        assert burst <= let_through <= burst + rate * (time.monotonic() - began) + 1
        assert 100 < one.limiter.take(KEY) <= 200  # at half the rate
        own_nats_server.start()
        await all_know([one, two])
        assert one.limiter.take(("acme", "eve"), 10) == 0.0  # the whole burst again
