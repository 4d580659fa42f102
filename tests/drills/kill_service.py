"""kill-service: SIGKILL of service processes, at random moments and at each named step of a write and of an event's way."""

import asyncio
import random

from tests.drills.play import Play

STEPS = ("decided", "appended", "stored", "consumed", "effected", "acked")
"""append → store → answer → consume → effect → ack: each between two of them."""


async def faults(play: Play) -> None:
    """In each service at once, kills one process after the other, so that one is always left."""
    async with asyncio.TaskGroup() as group:
        for service in play.stage.services:
            group.create_task(_one_service(play, service, random.Random(play.rng.random())))


async def _one_service(play: Play, service: str, rng: random.Random) -> None:
    """A random moment and each step in turn; who was killed comes back after a moment."""
    steps = list(STEPS)
    rng.shuffle(steps)
    turn = 0
    while turn < 2 or play.left() > 0:
        part = rng.choice(play.stage.parts(service))
        await (_at_step(play, rng, part, steps[turn // 2 % len(steps)]) if turn % 2 else _now(play, rng, part))
        turn += 1
        await asyncio.sleep(rng.uniform(0.2, 1.5))


async def _now(play: Play, rng: random.Random, part: str) -> None:
    async with play.fault("killed", part):
        await play.stage.kill(part)
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        await play.revive(part)


async def _at_step(play: Play, rng: random.Random, part: str, step: str) -> None:
    """Orders a process to die at a step; where it does not come there in time (nothing to consume) it is killed anyway."""
    before = play.stage.pid(part)
    play.order(part, f"die {step} {rng.randrange(1, 20)}")
    if not await play.until(lambda: play.stage.pid(part) != before, 5.0):
        step = "idle"
    async with play.fault(f"killed when {step}", part):
        await play.stage.kill(part)
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        await play.revive(part)
