"""kill-nats-leader: SIGKILL of the log server that leads a service's log.

restart-nats-all: all log servers killed at once; the second time power-failure style: what was not synced to the disk is gone, the log is
shorter than the store, and services refuse until an operator recovers it.
"""

import asyncio
import shutil
from pathlib import Path

from nats.errors import Error as NatsError

from tests.drills.logs import leader_of
from tests.drills.play import Play

UNSYNCED_SECONDS = 2.0
"""So much of the log's end is lost, in the power-failure style."""


async def kill_leader(play: Play) -> None:
    """Kills the leader of one service's log after the other, and starts it again a little later."""
    turn = 0
    while turn < 1 or play.left() > 0:
        service = play.stage.services[turn % len(play.stage.services)]
        try:
            leader = await leader_of(play.stage, service)
        except (NatsError, TimeoutError):
            await asyncio.sleep(0.5)
            continue
        alone = len(play.stage.parts("nats")) == 1
        async with play.fault("killed the leader", leader, outage=alone):
            await play.stage.kill(leader)
            await play.wait(0.5, 1.5 if alone else 4.0)
            await play.stage.start(leader)
            await play.stage.serving(leader)
        await play.more(20, 30.0)
        turn += 1


async def restart_all(play: Play) -> None:
    """Kills all and starts them on what the disk has; at last with the unsynced end gone, and an operator's command."""
    turn = 0
    while turn < 1 or play.left() > play.seconds / 2:
        async with play.fault("killed all", "nats", outage=True):
            await kill_all(play)
            await play.wait(0.2, 1.5)
            await start_all(play)
        play.expect(await play.more(20, 180.0), "writes go on by themselves after all log servers were killed")
        turn += 1
    await power_failure(play)


async def power_failure(play: Play) -> None:
    """The log servers' folders are put back to what they were a moment ago, as if the disk had not been told since."""
    copies = play.stage.folder / "synced"
    servers = play.stage.parts("nats")
    for server in servers:
        await play.stage.pause(server)
    for server in servers:
        await asyncio.to_thread(_copy, play.stage.log_folder(server), copies / server)
    for server in servers:
        await play.stage.resume(server)
    await play.more(20, 20.0)
    await asyncio.sleep(UNSYNCED_SECONDS)
    async with play.fault("unsynced end lost", "nats", outage=True):
        await kill_all(play)
        for server in servers:
            await asyncio.to_thread(_copy, copies / server, play.stage.log_folder(server))
        await start_all(play)
        await play.refuses(5.0)
        await play.recover_log()
    play.expect(await play.more(20, 180.0), "writes go on after the log was recovered")


async def kill_all(play: Play) -> None:
    """SIGKILL of every log server."""
    await asyncio.gather(*(play.stage.kill(server) for server in play.stage.parts("nats")))


async def start_all(play: Play) -> None:
    """All log servers again."""
    servers = play.stage.parts("nats")
    await asyncio.gather(*(play.stage.start(server) for server in servers))
    await asyncio.gather(*(play.stage.serving(server) for server in servers))


async def wipe(play: Play) -> None:
    """wipe-log: all that the log servers keep is deleted under load; an operator recovers it."""
    async with play.fault("log wiped", "nats", outage=True):
        await kill_all(play)
        await asyncio.gather(*(play.stage.wipe(server) for server in play.stage.parts("nats")))
        await start_all(play)
        await play.refuses(3.0)
        await play.recover_log()
    play.expect(await play.more(50, 180.0), "writes go on in the new life of the log")
    await asyncio.sleep(max(0.0, min(5.0, play.left())))


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
