"""Turns: bounded for each domain and lane."""

import asyncio

import pytest

from services.mail.domain import Lane
from services.mail.lanes import Lanes
from services.mail.smtp.pool import Busy

ONE, TWO = Lane.TRANSACTIONAL, Lane.BULK


async def test_a_domain_has_so_many_turns_and_lanes_do_not_wait_for_each_other() -> None:
    lanes = Lanes(under_way=1, waiting=1)
    async with lanes.turn("a.example", ONE, 60.0):
        async with lanes.turn("a.example", TWO, 1.0), lanes.turn("b.example", ONE, 60.0):
            pass
        with pytest.raises(Busy):
            async with lanes.turn("a.example", ONE, 0.01):
                pass


async def test_who_finds_too_many_waiting_is_turned_away_at_once() -> None:
    lanes = Lanes(under_way=1, waiting=1)

    async def wait() -> None:
        async with lanes.turn("a.example", ONE, 60.0):
            pass

    async with lanes.turn("a.example", ONE, 60.0):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await wait()
    await waiting


async def test_once_many_are_here_a_domain_with_many_gets_no_more_and_others_do() -> None:
    lanes = Lanes(under_way=1, waiting=100, total=3)

    async def wait() -> None:
        async with lanes.turn("a.example", ONE, 60.0):
            pass

    async with lanes.turn("a.example", ONE, 60.0):
        waiting = [asyncio.create_task(wait()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await wait()
        async with lanes.turn("b.example", ONE, 60.0):
            pass
    await asyncio.gather(*waiting)


class Clock:
    """A loop's clock that goes only as a test moves it."""

    now = 100.0

    def time(self) -> float:
        """Seconds."""
        return self.now


async def test_who_is_put_off_gets_a_time_of_its_own_at_the_pace_of_the_domain() -> None:
    lanes, clock = Lanes(under_way=2, waiting=10), Clock()
    lanes._loop = clock  # type: ignore[assignment]

    async def take(seconds: float) -> None:
        async with lanes.turn("a.example", ONE, 60.0):
            await asyncio.sleep(0)
            clock.now += seconds

    await asyncio.gather(*(take(0.05) for _ in range(8)))
    times = [lanes.put_off("a.example", ONE) for _ in range(2000)]
    assert times == sorted(times)
    assert times[0] == 1.0
    assert times[-1] > 2 * times[0]
    assert max(times) <= 1800.0
    assert lanes.put_off("b.example", ONE) == 1.0
