"""Runs the simulated hook: ``python -m services.hook_simulator --refuse WORD --mask WORD``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from services.hook_simulator.service import WordHook, serve
from services.runtime.signals import told_to_end


async def main(listen: str, hook: WordHook) -> None:
    """Serve until told to end."""
    server, port = await serve(hook, listen)
    sys.stderr.write(f"listening on port {port}\n")
    with told_to_end() as told:
        await told.wait()
    await server.stop(1.0)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m services.hook_simulator", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:7450", help="host:port")
    parser.add_argument("--refuse", action="append", default=[], metavar="WORD", help="not said; repeatable")
    parser.add_argument("--mask", action="append", default=[], metavar="WORD", help="said as asterisks; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    said = parsed()
    asyncio.run(main(said.listen, WordHook(said.refuse, said.mask, os.environ.get("MESSAGE_HOOK_TOKEN", ""))))
