"""pause-writer: SIGSTOP in the middle of a write, past every timeout; another process takes over; what wakes up is refused by the fence."""

from tests.drills.play import Play

PAST_TIMEOUTS = 6.5
"""Longer than `D` (5 s) and than a client's deadline."""
STEPS = ("decided", "appended", "stored")


async def faults(play: Play) -> None:
    """Stops a process at a step of a write, lets the other one go on, and wakes it; again with every step."""
    parts = [part for service in play.stage.services for part in play.stage.parts(service)]
    steps = list(STEPS)
    play.rng.shuffle(steps)
    turn = 0
    while turn < 1 or play.left() > PAST_TIMEOUTS:
        part, step = play.rng.choice(parts), steps[turn % len(steps)]
        play.order(part, f"stop {step} {play.rng.randrange(1, 12)}")
        await play.until(lambda part=part: play.stage.stopped(part), 3.0)  # type: ignore[misc]
        async with play.fault(f"paused when {step}", part):
            await play.stage.pause(part)
            await play.wait(PAST_TIMEOUTS, PAST_TIMEOUTS + 1.0)
            await play.stage.resume(part)
        turn += 1
        await play.wait(0.5, 1.5)
