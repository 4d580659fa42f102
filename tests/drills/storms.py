"""storms: a gateway that times out after applying, a mail server that hangs or drops after the text; both, and a gateway that dies."""

import asyncio

from tests.drills.play import Play


async def faults(play: Play) -> None:
    """The storm is in the load's payment methods and recipients; the gateway's process is killed besides."""
    gateways = play.stage.parts("payments")
    turn = 0
    while turn < 1 or play.left() > 1.0:
        part = play.rng.choice(gateways)
        async with play.fault("gateway killed", part):
            await play.stage.kill(part)
            await play.wait(0.3, 2.0)
            await play.revive(part)
        await asyncio.sleep(min(max(0.0, play.left()), play.rng.uniform(1.0, 4.0)))
        turn += 1
