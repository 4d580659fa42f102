"""A whole service of tallies as a process: it serves, consumes, keeps timers, and counts by itself without end.

Every answer it gets, every entry it is handed and every timer that fires is a line in a file, written at once. A command without an
answer is tried again with the same request id, as any client does.
"""

import argparse
import asyncio
import json
import os
import random
import time
from pathlib import Path

from services.host import ServiceSettings, host
from services.ledger.decider import Delivered
from services.ledger.errors import LedgerError
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.config import load
from services.runtime.run import run
from tests.tally import TALLY, Add, WakeAt, fresh_request, tally

TALLIES = 6
_SLEEPS_US = 2_000_000
_ALARM_EVERY = 0.25


class Notes:
    """Lines in a file that several processes write."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "notes.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, **words: object) -> None:
        """Writes one line."""
        os.write(self._file, json.dumps(words).encode() + b"\n")


async def insist(ledger: Ledger, aggregate: AggregateId, command: Add | WakeAt, notes: Notes) -> None:
    """Sends a command until there is an answer."""
    request = fresh_request()
    while True:
        try:
            receipt = await ledger.execute(aggregate, command, request, timeout=5.0)
        except LedgerError:
            await asyncio.sleep(0.1)
            continue
        amount = command.amount if isinstance(command, Add) else 0
        notes.note(acknowledged=aggregate.id, version=receipt.first_version, amount=amount)
        return


async def count(ledger: Ledger, notes: Notes) -> None:
    """Counts without end."""
    while True:
        name = f"till {random.randrange(TALLIES)}"
        await insist(ledger, tally(name), Add(random.randint(1, 1_000_000_000)), notes)


async def set_alarms(ledger: Ledger, notes: Notes) -> None:
    """Wants to be woken, again and again, each time as somebody else."""
    number = 0
    while True:
        number += 1
        due = time.time_ns() // 1000 + _SLEEPS_US
        await insist(ledger, tally(f"alarm {os.getpid()} {number}"), WakeAt(due), notes)
        await asyncio.sleep(_ALARM_EVERY)


async def main(settings: ServiceSettings, service: str, folder: Path) -> None:
    """Serves until told to end."""
    notes = Notes(folder)
    async with host(service, settings, [TALLY], {}) as here:

        async def handle(delivered: Delivered) -> None:
            versions = [event.version for event in delivered.events]
            if delivered.aggregate.id.startswith("alarm"):
                await here.ledger.arm(delivered.aggregate)
            notes.note(handed=delivered.aggregate.id, versions=versions)

        async def wake(aggregate: AggregateId, _name: str) -> None:
            notes.note(woken=aggregate.id)

        here.ledger.consume("seen", handle)
        here.ledger.on_timer(wake)
        work = [asyncio.create_task(count(here.ledger, notes)) for _ in range(3)]
        work.append(asyncio.create_task(set_alarms(here.ledger, notes)))
        try:
            await here.server.run_until_signal()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    run(main(load(ServiceSettings), options.service, options.folder))
