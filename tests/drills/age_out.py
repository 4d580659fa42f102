"""age-out: a log with a retention of seconds: nothing leaves it before it is stored, fences and request ids stay right."""

import asyncio

from tests.drills.kill_service import faults as kill
from tests.drills.logs import jetstream, log_of
from tests.drills.play import Play


async def faults(play: Play) -> None:
    """Entries age out all the while; processes are killed meanwhile, so that others load what only the store has."""
    await kill(play)
    await asyncio.sleep(max(0.0, play.left()))
    async with jetstream(play.stage) as js:
        for service in play.stage.services:
            state = (await log_of(js, service)).state
            play.figures[f"{service}: aged out"] = int(
                state.first_seq - int((await log_of(js, service)).config.first_seq or 0)
            )
            play.expect(state.messages < 20_000, "the log lets old entries go")
