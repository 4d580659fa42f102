"""slow-store: every write of the store takes half a second. full-disk: the log is at its size limit."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tests.drills.logs import jetstream, log_of
from tests.drills.play import Play

HELD_SECONDS = 0.5


async def slow_store(play: Play) -> None:
    """Nodes answer half a second later; an SQLite file is held for half a second at a time, so that every write waits for its turn."""
    async with play.fault("slow", "store"):
        over = asyncio.Event()
        files = [file for service in play.stage.services if (file := play.stage.store_file(service))]
        holders = [asyncio.create_task(_hold(file, over)) for file in files]
        links = [link for (_, server), link in play.links.all.items() if server.startswith("cql")]
        for link in links:
            link.delay_s = HELD_SECONDS
        await asyncio.sleep(max(3.0, play.left()))
        for link in links:
            link.heal()
        over.set()
        await asyncio.gather(*holders)


async def _hold(file: Path, over: asyncio.Event) -> None:
    while not over.is_set():
        await asyncio.to_thread(_hold_once, file)
        await asyncio.sleep(0.02)


def _hold_once(file: Path) -> None:
    with closing(sqlite3.connect(file, timeout=30.0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(HELD_SECONDS)
        connection.execute("ROLLBACK")


async def full_log(play: Play) -> None:
    """Sets the size limit of each log to what it holds already, and later lifts it."""
    turn = 0
    while turn < 1 or play.left() > 3.0:
        async with play.fault("log full", "nats", outage=True):
            await _limit(play, 0)
            await play.refuses(3.0)
            await _limit(play, -1)
        play.expect(await play.more(30, 180.0), "writes go on once there is room")
        turn += 1


async def _limit(play: Play, room: int) -> None:
    async with jetstream(play.stage) as js:
        for service in play.stage.services:
            log = await log_of(js, service)
            log.config.max_bytes = -1 if room < 0 else max(1, log.state.bytes + room)
            await js.update_stream(log.config)
