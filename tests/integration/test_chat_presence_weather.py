"""Processes come, leave, die and lose their connection while people come and go: at the end every watcher holds the truth."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from services.chat.presence.domain import State
from services.chat.presence.roster import Roster
from services.chat.presence.slots import Key
from services.chat.presence.words import Report
from services.ledger.ending import end
from services.runtime.errors import Refused
from tests.servers import NatsServer
from tests.tally import eventually

BEAT = 0.1
PEOPLE: list[Key] = [("acme", f"user-{number}") for number in range(60)]
STATES = (State.ONLINE, State.AWAY, State.OFFLINE)


class Process:
    """What one process of Chat has of presence, and a stream on it that watches everybody."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.roster = Roster(client, BEAT, 1000, 1000)
        self.told: dict[Key, State] = {}

    def changed(self, key: Key) -> None:
        """Take note, as a stream that is read at once."""
        self.told[key] = self.roster.seen(key).state

    async def die(self) -> None:
        """End as a killed process does: without a word."""
        await end([*self.roster._tasks, *self.roster._homes._tasks, self.roster._homes._peers._task])  # type: ignore[list-item]
        _cut(self.client)
        with suppress(OSError):
            await self.client.close()

    async def lose_connection(self) -> None:
        """Have the connection cut; the client makes another one."""
        links = self.client.stats["reconnects"]
        _cut(self.client)

        async def back() -> bool:
            return self.client.stats["reconnects"] > links and self.client.is_connected

        await eventually(back)


def _cut(client: Client) -> None:
    transport: Any = client._transport
    transport.close()


@asynccontextmanager
async def processes(url: str) -> AsyncIterator[list[Process]]:
    live: list[Process] = []
    try:
        yield live
    finally:
        for process in live:
            await process.roster.close()
            with suppress(OSError):  # cut off just now
                await process.client.close()


async def come(url: str, live: list[Process]) -> None:
    process = Process(await nats.connect(url, reconnect_time_wait=0.05, max_reconnect_attempts=-1))
    await process.roster.start()
    process.roster.add(process, PEOPLE)
    live.append(process)


async def settled(live: list[Process]) -> None:
    """Wait until all processes know each other and hold what they are to hold."""

    async def check() -> bool:
        return all(len(process.roster.processes) == len(live) and process.roster.settled for process in live)

    await eventually(check)


@pytest.mark.parametrize("seed", range(2))
async def test_at_the_end_every_watcher_holds_the_truth(nats_server: NatsServer, seed: int) -> None:
    choose = random.Random(seed)
    truth: dict[Key, dict[str, State]] = {key: {} for key in PEOPLE}

    async def report(live: list[Process]) -> None:
        key, device, state = choose.choice(PEOPLE), choose.choice("abc"), choose.choice(STATES)
        process = choose.choice(live)
        async with asyncio.timeout(60):
            while True:
                with suppress(Refused):  # not now: it is said again, as every client does
                    await process.roster.report(Report(key, device, state, 300.0), 10)
                    break
        truth[key][device] = state

    async with processes(nats_server.url) as live:
        for _ in range(3):
            await come(nats_server.url, live)
        for _ in range(4):
            await settled(live)
            weather = asyncio.create_task(_weather(choose.choice(["come", "die", "leave", "cut"]), choose, live))
            for _ in range(25):
                await report(live[:1])  # whom nothing befalls
            await weather
            for _ in range(25):
                await report(live)

        expected = {key: _over_all(devices) for key, devices in truth.items()}

        async def agrees() -> bool:
            return all(process.told == expected for process in live)

        await eventually(agrees)


async def _weather(what: str, choose: random.Random, live: list[Process]) -> None:
    if what == "come" or len(live) < 3:
        await come(live[0].client.connected_url.geturl(), live)  # type: ignore[union-attr]
        return
    process = live[choose.randrange(1, len(live))]
    if what == "cut":
        await process.lose_connection()
        return
    live.remove(process)
    if what == "die":
        await process.die()
    else:
        await process.roster.close()
        await process.client.close()


def _over_all(devices: dict[str, State]) -> State:
    held = set(devices.values())
    return next((state for state in STATES if state in held), State.OFFLINE)
