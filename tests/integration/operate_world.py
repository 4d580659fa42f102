"""Processes of a service of tallies that a supervisor starts again, and the reckoning of all they noted."""

import asyncio
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats

from services.host import START_AGAIN
from services.ledger.decider import Delivered
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.ledger.lives import JetStreamLives
from services.ledger.log import LogSettings
from services.ledger.sqlite import SqliteArchive
from services.runtime.tokens import make_key_pair
from tests.integration.ledger_world import ROOT, reckon, whole_history
from tests.tally import decode, eventually, tally

SERVICE = "tallies"


class Crowd:
    """Some processes of one service; whichever ends with code 4 is started again.

    Attributes:
        again: how often one was.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.again = 0
        make_key_pair(folder / "key.pem", folder / "key.pub.pem")
        self._environment = os.environ | {
            "TRADEWIND_NATS_URLS": url,
            "TRADEWIND_STORE": "sqlite",
            "TRADEWIND_STORE_FILE": str(folder / "tallies.db"),
            "TRADEWIND_LOG_PARTITIONS": "2",
            "TRADEWIND_AUTH_PUBLIC_KEY_FILES": str(folder / "key.pub.pem"),
            "TRADEWIND_DRAIN_GRACE": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")]),
        }
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ending = False

    async def keep(self, number: int) -> None:
        """Runs one process, as long as it ends in order to be started again."""
        command = (
            sys.executable,
            "-m",
            "tests.programs.tally_service",
            "--service",
            SERVICE,
            "--folder",
            str(self.folder),
        )
        while not self._ending:
            with (self.folder / f"{number}.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *command, cwd=ROOT, env=self._environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._processes[number] = process
            if self._ending:
                process.terminate()  # it was not there yet when all were told
            code = await process.wait()
            if not self._ending:
                assert code == START_AGAIN, (code, (self.folder / f"{number}.log").read_text()[-2000:])
                self.again += 1

    def end(self) -> None:
        """Tells all to end."""
        self._ending = True
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to all that run."""
        for process in self._processes.values():
            if process.returncode is None:
                os.kill(process.pid, number)

    def notes(self, word: str) -> list[dict[str, Any]]:
        """What all noted so far of one kind."""
        file = self.folder / "notes.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in map(json.loads, lines) if word in line]

    async def until(self, word: str, more: int, timeout: float = 60.0) -> None:
        """Waits until so many more of a kind were noted."""
        wanted = len(self.notes(word)) + more
        async with asyncio.timeout(timeout):
            while len(self.notes(word)) < wanted:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def crowd(url: str, folder: Path, processes: int) -> AsyncIterator[Crowd]:
    """Several processes of the service under their own load; they end with the block."""
    made = Crowd(url, folder)
    tasks = [asyncio.create_task(made.keep(number)) for number in range(processes)]
    try:
        yield made
    finally:
        made.end()
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)


@asynccontextmanager
async def operators(
    url: str, file: Path, service: str = SERVICE
) -> AsyncIterator[tuple[JetStreamLives, SqliteArchive, LogSettings]]:
    """What an operator's command works on."""
    client = await nats.connect(url)
    archive = SqliteArchive.open(file)
    settings = LogSettings(service, partitions=2)
    try:
        yield JetStreamLives(client, settings), archive, settings
    finally:
        await archive.close()
        await client.close()


async def all_is_there(world: Crowd, ledger: Ledger) -> int:
    """Nothing acknowledged is lost, versions are dense, every event is handed over and every alarm wakes somebody; how many events."""
    amounts: dict[str, dict[int, int]] = defaultdict(dict)
    for line in world.notes("acknowledged"):
        amounts[line["acknowledged"]][line["version"]] = line["amount"]
    total = 0
    for name, acknowledged in amounts.items():
        await reckon(ledger, tally(name))
        events = {event.version: decode(event.payload) for event in await whole_history(ledger, tally(name))}
        total += len(events)
        for version, amount in acknowledged.items():
            right = events[version] == amount or (not amount and str(events[version]).startswith("wake"))
            assert right, (name, version)
    await _all_is_handed_over(world, ledger, amounts)
    return total


async def _all_is_handed_over(world: Crowd, ledger: Ledger, amounts: Mapping[str, Mapping[int, int]]) -> None:
    """What the processes had not taken when they ended, this one takes."""
    missing = {(name, version) for name, versions in amounts.items() for version in versions}
    missing -= {(line["handed"], version) for line in world.notes("handed") for version in line["versions"]}
    asleep = {name for name in amounts if name.startswith("alarm")} - {line["woken"] for line in world.notes("woken")}

    async def handle(delivered: Delivered) -> None:
        if delivered.aggregate.id.startswith("alarm"):
            await ledger.arm(delivered.aggregate)
        missing.difference_update((delivered.aggregate.id, event.version) for event in delivered.events)

    async def wake(aggregate: AggregateId, _name: str) -> None:
        asleep.discard(aggregate.id)

    async def done() -> bool:
        return not missing and not asleep

    ledger.consume("seen", handle)
    ledger.on_timer(wake)
    try:
        await eventually(done, timeout=60)
    except TimeoutError:
        raise AssertionError((sorted(missing)[:10], sorted(asleep)[:10])) from None
