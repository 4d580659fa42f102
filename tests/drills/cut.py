"""cut: a network cut between a service's process and the log, and between it and the store: both ways, one way, and resets."""

import asyncio

from tests.drills.links import Link
from tests.drills.play import Play

WAYS = ("both ways", "from the process", "to the process", "reset")


async def faults(play: Play) -> None:
    """Cuts one process of a service off for a while, each way in turn; the other process of the service goes on."""
    kinds = [kind for kind in ("nats", "cql") if any(play.links.of(part, kind) for part in play.stage.parts("chat"))]
    ways = [(way, kind) for way in WAYS for kind in kinds]
    play.rng.shuffle(ways)
    turn = 0
    while turn < 1 or play.left() > 2.0:
        way, kind = ways[turn % len(ways)]
        service = play.rng.choice(play.stage.services)
        part = play.rng.choice(play.stage.parts(service))
        links = play.links.of(part, kind)
        async with play.fault(f"cut {kind}, {way}", part):
            for link in links:
                _cut(link, way)
            await play.wait(2.0, min(8.0, max(3.0, play.seconds / 4)))
            for link in links:
                link.heal()
        turn += 1
        await asyncio.sleep(1.0)


def _cut(link: Link, way: str) -> None:
    if way == "reset":
        link.refusing = True
        link.break_all()
    else:
        link.cut(up=way != "to the process", down=way != "from the process")
