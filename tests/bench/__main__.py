"""`python -m tests.bench [NAME …]`: measures, prints a table, writes build/bench.json. Names: see MEASUREMENTS; default all."""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.runtime.run import run
from tests.bench import chat, crowd, ledger, live, mail, order, recall, store
from tests.bench.report import Result, show
from tests.bench.stack import Stack

MEASUREMENTS: dict[str, Callable[[Stack], Awaitable[list[Result]]]] = {
    "ledger": ledger.measure,
    "chat": chat.measure,
    "live": live.measure,
    "crowd": crowd.measure,
    "order": order.measure,
    "mail": mail.measure,
    "store": store.measure,
    "recall": recall.measure,
}


async def main(names: list[str]) -> int:
    """Measures what is named, each on a fresh stack."""
    results: list[Result] = []
    for name in names or MEASUREMENTS:
        with tempfile.TemporaryDirectory(prefix=f"tradewind-bench-{name}-") as folder:
            stack = Stack(Path(folder))
            stack.start()
            try:
                async with asyncio.timeout(600):
                    results += await MEASUREMENTS[name](stack)
            finally:
                await asyncio.to_thread(stack.stop)
    show(results, Path("build/bench.json"))
    return 0


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(MEASUREMENTS)
    if unknown:
        sys.stderr.write(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}\n")
        raise SystemExit(2)
    raise SystemExit(run(main(sys.argv[1:])))
