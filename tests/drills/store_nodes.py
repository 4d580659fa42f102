"""kill-cql-node: one of three: no write is refused; two of three: writes are refused clearly, and all is back by itself."""

import asyncio

from tests.drills.play import Play
from tests.drills.records import REFUSED, UNKNOWN, Call, Records

QUIET = 6.0
"""Seconds after a node's death within which its clients have noticed."""


async def kill_nodes(play: Play) -> None:
    """One node after the other, then two at once; each comes back."""
    nodes = list(play.stage.parts("cql"))
    turn = 0
    while turn < 1 or play.left() > play.seconds / 2:
        node = play.rng.choice(nodes)
        start = play.recorder.now()
        async with play.fault("one node killed", node):
            await play.stage.kill(node)
            await asyncio.sleep(QUIET)
            await revive(play, [node])
        _judge_one(play, start)
        turn += 1
    two = play.rng.sample(nodes, 2)
    async with play.fault("two nodes killed", ", ".join(two), outage=True):
        await asyncio.gather(*(play.stage.kill(node) for node in two))
        await play.refuses(4.0)
        await revive(play, two)
    play.expect(await play.more(30, 180.0), "writes go on by themselves once two of three are there")


def _judge_one(play: Play, start: float) -> None:
    """With two of three copies no write is refused or lost sight of because of the store."""
    play.recorder.flush()
    calls = [call for call in Records.read(play.recorder.file).calls if call.end >= start]
    bad = [call for call in calls if call.outcome in (REFUSED, UNKNOWN) and _of_store(call)]
    play.figures["refused with one of three killed"] = len(bad)
    play.expect(not bad, f"no write is refused with one of three nodes killed: {sorted({call.reason for call in bad})}")


def _of_store(call: Call) -> bool:
    return "STORE_UNAVAILABLE" in call.reason


async def revive(play: Play, nodes: list[str]) -> None:
    """Starts nodes and waits until they serve."""
    for node in nodes:
        await play.stage.start(node)
    for node in nodes:
        await play.stage.serving(node)
