"""clock-jump: a process's clock an hour off either way: no id, timer or token rule breaks silently."""

import asyncio

from tests.drills.play import Play

HOUR = 3600


async def faults(play: Play) -> None:
    """One process of each service has its clock an hour ahead, then an hour behind, then right again."""
    ahead = [play.rng.choice(play.stage.parts(service)) for service in play.stage.services]
    for offset in (HOUR, -HOUR):
        for part in ahead:
            play.order(part, f"clock {offset}")
        async with play.fault(f"clock {offset:+d} s", ", ".join(ahead)):
            await asyncio.sleep(max(2.0, play.seconds / 3))
    for part in ahead:
        play.order(part, "clock 0")
