"""A server of tallies in a process of its own: reads requests as JSON lines, answers each with a JSON line.

At a point between two steps of a write it may stop itself (SIGSTOP) or kill itself (SIGKILL), as a machine would: without a word.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import structlog

from services.ledger.errors import LedgerError
from services.ledger.ledger import Ledger
from tests.tally import Add, open_ledger, request, tally


def say(**words: object) -> None:
    """One line of answer."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def add(ledger: Ledger, line: dict[str, str | int]) -> None:
    """Counts what a line says, and says what came of it."""
    name = str(line["request"])
    try:
        receipt = await ledger.execute(tally(str(line["tally"])), Add(int(line["amount"])), request(name), timeout=60.0)
    except LedgerError as error:
        say(request=name, reason=error.reason)
        return
    say(request=name, first=receipt.first_version, last=receipt.last_version, replayed=receipt.replayed)


async def serve(arguments: argparse.Namespace) -> None:
    """Answers lines until there are no more."""

    async def pause(point: str) -> None:
        if point == arguments.at:
            os.kill(os.getpid(), getattr(signal, arguments.signal))

    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with open_ledger(arguments.url, Path(arguments.file), service=arguments.service) as ledger:
        if arguments.at:
            ledger.engine.pause = pause
        say(ready=True)
        async with asyncio.TaskGroup() as tasks:
            while text := await lines.readline():
                tasks.create_task(add(ledger, json.loads(text)))
        say(fences_lost=ledger.counters.fences_lost, appends=ledger.counters.appends)


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--at", default="", help="point between two steps of a write")
    parser.add_argument("--signal", default="SIGKILL", help="what the process sends itself there")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # answers go to standard output
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
