"""A server of tallies with callers of its own, who all count on one tally for a while; says at the end what they got."""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from services.ledger.errors import LedgerError
from tests.tally import Add, fresh_request, open_ledger, tally


async def crowd(arguments: argparse.Namespace) -> None:
    """Counts until the time is up."""
    refused: dict[str, int] = {}
    counted = 0

    async with open_ledger(arguments.url, arguments.file, service=arguments.service) as ledger:
        sys.stdout.write('{"ready": true}\n')
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        until = time.monotonic() + arguments.seconds

        async def call() -> None:
            nonlocal counted
            while time.monotonic() < until:
                try:
                    await ledger.execute(tally("hot"), Add(1), fresh_request())
                    counted += 1
                except LedgerError as error:
                    refused[error.reason] = refused.get(error.reason, 0) + 1

        await asyncio.gather(*(call() for _ in range(arguments.callers)))
        counters = ledger.counters
        told = {"counted": counted, "refused": refused, "appends": counters.appends, "lost": counters.fences_lost}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--callers", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    asyncio.run(crowd(parser.parse_args()))
