"""The ledger beside bare JetStream: what the fence, the store and the bookkeeping cost."""

import asyncio
import time

import nats
import psutil
from nats.js.api import StreamConfig

from tests.bench.report import Result, Round, compared
from tests.bench.stack import Stack
from tests.tally import Add, fresh_request, open_ledger, tally

ROUNDS = 3
SECONDS = 3.0
IN_FLIGHT = 256
AGGREGATES = 20_000


async def measure(stack: Stack) -> list[Result]:
    """Fenced, stored appends to many aggregates beside `js.publish` of the same size with the same number in flight."""
    client = await nats.connect(stack.nats.url)
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="bare", subjects=["bare.>"]))
    payload = b"x" * 300
    ours: list[Round] = []
    theirs: list[Round] = []
    async with open_ledger(stack.nats.url, stack.folder / "tally.db") as ledger:
        numbers = iter(range(1 << 60))

        async def append() -> None:
            await ledger.execute(tally(str(next(numbers) % AGGREGATES)), Add(1), fresh_request())

        async def publish() -> None:
            await js.publish(f"bare.{next(numbers) % AGGREGATES}", payload)

        for turn in range(ROUNDS + 1):
            bare, mine = await _round(publish), await _round(append)
            if turn:
                theirs.append(bare)
                ours.append(mine)
    await client.close()
    result = compared(f"fenced, stored appends, {AGGREGATES:,} aggregates", "/s", ours, theirs, "bare js.publish", 0.0)
    result.mark, result.reached = "", None
    return [result]


async def _round(work: object) -> Round:
    assert callable(work)
    process = psutil.Process()
    until = time.perf_counter() + SECONDS
    count = 0

    async def loop() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await work()
            count += 1

    cpu, started = sum(process.cpu_times()[:2]), time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(IN_FLIGHT)))
    used = sum(process.cpu_times()[:2]) - cpu
    return Round(count / (time.perf_counter() - started), used / count * 1e6)
