"""What remembering costs: a long aggregate loaded cold, a wiped store filled again from the log, memory per aggregate held."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats as nats_client
import psutil

from services.ledger.archive import Archive
from services.ledger.cql import CqlArchive
from services.ledger.engine import Limits, NoTracer
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings
from services.ledger.sqlite import SqliteArchive
from tests.bench.report import Result
from tests.bench.stack import Stack
from tests.bench.store import cassandra, cql_settings
from tests.tally import TALLY, Add, fresh_request, tally

EVENTS = 100_000
AGGREGATES = 5_000
RESIDENTS = 20_000
IN_FLIGHT = 256

Opener = Callable[[str], Awaitable[Archive]]


@asynccontextmanager
async def opened(stack: Stack, archive: Archive, service: str) -> AsyncIterator[Ledger]:
    """A process's ledger; the archive is closed with it."""
    client = await nats_client.connect(stack.nats.url)
    limits = Limits(residents=RESIDENTS + 1)
    ledger = await Ledger.open(client, archive, NoTracer(), LogSettings(service, partitions=4), [TALLY], limits)
    try:
        yield ledger
    finally:
        await ledger.close()
        await archive.close()
        await client.close()


async def cold_load(stack: Stack, name: str, opener: Opener) -> Result:
    """An aggregate of 100,000 events, read by a process that never saw it."""
    service, long = f"cold-{name.lower()}", tally("long")
    async with opened(stack, await opener("cold"), service) as ledger:
        for start in range(0, EVENTS, 1000):
            await asyncio.gather(
                *(ledger.execute(long, Add(1), fresh_request(n), 60) for n in range(start, start + 1000))
            )
    taken: list[float] = []
    for _ in range(21):
        async with opened(stack, await opener("cold"), service) as ledger:
            started = time.perf_counter()
            view = await ledger.read(long)
            taken.append((time.perf_counter() - started) * 1e3)
            assert view.version == EVENTS
    taken.sort()
    return Result(
        f"{name}: cold load of {EVENTS:,} events", 1e3 / taken[10], "/s", "< 50 ms", taken[10] < 50, rounds=len(taken),
        more={"p50 ms": taken[10], "worst ms": taken[-1]},
    )  # fmt: skip


async def refill(stack: Stack, name: str, opener: Opener) -> Result:
    """A store whose contents are gone, filled again from the log by loads, as after `restore` without a backup."""
    service = f"refill-{name.lower()}"
    tills = [tally(f"till {n}") for n in range(AGGREGATES)]
    async with opened(stack, await opener("first"), service) as ledger:
        epoch = ledger.epoch
        for start in range(0, AGGREGATES, IN_FLIGHT):
            some = tills[start : start + IN_FLIGHT]
            await asyncio.gather(*(ledger.execute(till, Add(5), fresh_request(till.id), 60) for till in some))
    empty = await opener("second")
    await empty.put_identity("restored")
    await empty.register_epoch(service, epoch)
    started = time.perf_counter()
    async with opened(stack, empty, service) as ledger:
        while ledger.counters.repaired < AGGREGATES:
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - started
    return Result(f"{name}: entries repaired after a wiped store", AGGREGATES / seconds, "entries/s")


async def residents(stack: Stack, opener: Opener) -> Result:
    """Memory of aggregates of one event each, held after their command."""
    async with opened(stack, await opener("residents"), "residents") as ledger:
        tills = [tally(f"till {n}") for n in range(RESIDENTS)]
        await ledger.execute(tally("first"), Add(1), fresh_request())
        gc.collect()
        before = psutil.Process().memory_info().rss
        for start in range(0, RESIDENTS, IN_FLIGHT):
            some = tills[start : start + IN_FLIGHT]
            await asyncio.gather(*(ledger.execute(till, Add(1), fresh_request(till.id), 60) for till in some))
        gc.collect()
        each = (psutil.Process().memory_info().rss - before) / RESIDENTS
    return Result("memory of an aggregate held", each, "bytes")


async def measure(stack: Stack) -> list[Result]:
    """All of it, on SQLite and on one CQL node."""

    async def sqlite(name: str) -> Archive:
        return SqliteArchive.open(stack.folder / f"{name}.db")

    async with cassandra(Path(stack.folder / "cassandra")) as cluster:

        async def cql(name: str) -> Archive:
            return await CqlArchive.open(await asyncio.to_thread(cql_settings, cluster.settings(), f"recall_{name}"))

        return [
            await residents(stack, sqlite),
            await cold_load(stack, "SQLite", sqlite), await cold_load(stack, "CQL", cql),
            await refill(stack, "SQLite", sqlite), await refill(stack, "CQL", cql),
        ]  # fmt: skip
