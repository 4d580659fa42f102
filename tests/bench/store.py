"""The CQL archive beside the driver's own `execute_async`, and durable sends on CQL beside those on SQLite.

One Apache Cassandra node on this machine, so that client, log, services and store share its cores.
"""

import asyncio
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from cassandra.query import BatchStatement, BatchType

from services.ledger.archive import Archive, Head, StoredEntry, Write, entry_size
from services.ledger.cql import CqlArchive
from services.ledger.cql_statements import STATEMENTS
from services.ledger.sqlite import SqliteArchive
from services.migrate.apply import apply
from services.migrate.files import read
from services.runtime.cql import CqlSettings, connect_once
from tests.bench.chat import Chat
from tests.bench.load import converse_streams
from tests.bench.report import Result, Round, compared
from tests.bench.stack import Stack
from tests.servers import CassandraCluster

ROUNDS = 3
SECONDS = 3.0
IN_FLIGHT = 256
EVENT = b"x" * 300


def cql_settings(environment: Mapping[str, str], keyspace: str) -> CqlSettings:
    """How to reach a cluster's keyspace, whose tables are made here."""
    points = tuple(environment["TRADEWIND_CQL_CONTACT_POINTS"].strip("[]").replace('"', "").split(","))
    settings = CqlSettings(points, environment["TRADEWIND_CQL_LOCAL_DC"], keyspace)
    apply(settings, read(), environment["TRADEWIND_CQL_REPLICATION"])
    return settings


@asynccontextmanager
async def cassandra(folder: Path) -> AsyncIterator[CassandraCluster]:
    """One node, running."""
    cluster = CassandraCluster(folder, 1)
    try:
        await asyncio.to_thread(cluster.start)
        yield cluster
    finally:
        await asyncio.to_thread(cluster.stop)


def write(number: int, events: int) -> Write:
    """The first entry of an aggregate of its own, with as many request ids as events."""
    seq = time.time_ns() // 1000
    data = EVENT * events
    ids = [os.urandom(16) for _ in range(events)]
    head = Head(events, seq, 0, entry_size(data))
    return Write(f"bench/tally/{seq:x}-{number:x}", StoredEntry(1, seq, data), head, ids)


async def _timed(work: Callable[[], Awaitable[int]]) -> Round:
    process = psutil.Process()
    cpu, started = sum(process.cpu_times()[:2]), time.perf_counter()
    count = await work()
    seconds, used = time.perf_counter() - started, sum(process.cpu_times()[:2]) - cpu
    return Round(count / seconds, used / count * 1e6)


class Bare:
    """The driver alone: the same batches, sent as fast as answers come, in its own threads."""

    def __init__(self, settings: CqlSettings) -> None:
        self._cluster, self._session = connect_once(settings)
        self._entry, self._ids = (
            self._session.prepare(STATEMENTS[name].replace("{keyspace}", settings.keyspace))
            for name in ("put_entry", "put_ids")
        )

    def close(self) -> None:
        """Lets go of the store."""
        self._cluster.shutdown()

    def store(self, events: int, seconds: float) -> int:
        """Stores entries of some events for some seconds; how many were answered."""
        room, until, numbers, failed = threading.Semaphore(IN_FLIGHT), time.perf_counter() + seconds, 0, []

        def left(_: Any) -> None:
            room.release()

        def broke(error: Exception) -> None:
            failed.append(error)
            room.release()

        while time.perf_counter() < until:
            room.acquire()
            numbers += 1
            self._session.execute_async(self._batch(write(numbers, events))).add_callbacks(left, broke)
        for _ in range(IN_FLIGHT):
            room.acquire()
        assert not failed, failed[0]
        return numbers

    def _batch(self, one: Write) -> BatchStatement:
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        seq, head = one.entry.seq, one.head
        batch.add(
            self._entry,
            (one.key, 0, 1, seq, one.entry.data, head.version, seq, head.newest_request_ms, head.size, seq),
        )
        parts: dict[int, list[bytes]] = {}
        for request_id in one.request_ids:
            parts.setdefault(request_id[-1] % 16 + 1, []).append(request_id)
        for part, ids in parts.items():
            batch.add(self._ids, (one.key, 0, part, 1, seq, b"".join(ids), seq))
        return batch


async def _ours(archive: Archive, events: int) -> int:
    until, numbers = time.perf_counter() + SECONDS, itertools.count()
    stored = 0

    async def loop() -> None:
        nonlocal stored
        while time.perf_counter() < until:
            await archive.store(write(next(numbers), events))
            stored += 1

    await asyncio.gather(*(loop() for _ in range(IN_FLIGHT)))
    return stored


async def write_path(archive: Archive, bare: Bare, events: int) -> Result:
    """Entries of some events, each of an aggregate of its own, beside the driver alone."""
    ours: list[Round] = []
    theirs: list[Round] = []
    for turn in range(ROUNDS + 1):
        their = await _timed(lambda: asyncio.to_thread(bare.store, events, SECONDS))
        mine = await _timed(lambda: _ours(archive, events))
        if turn:
            ours.append(mine)
            theirs.append(their)
    name = f"CQL: entries of {events} event{'s' * (events > 1)}, {IN_FLIGHT} in flight"
    result = compared(name, "entries/s", ours, theirs, "bare execute_async", 1 / 1.3)
    result.mark = "<= 1.3 x its CPU"
    cpu = sorted(a.cpu_us / b.cpu_us for a, b in zip(ours, theirs, strict=True))[len(ours) // 2]
    result.reached = cpu <= 1.3
    result.more = {
        "events a second": result.rate * events, "client CPU us an event": (result.cpu_us or 0) / events,
        "CPU beside the bare driver": cpu,
    }  # fmt: skip
    return result


async def history_pages(archive: Archive, name: str) -> Result:
    """Pages of 50 entries at random places of an aggregate of 20,000, one after the other."""
    key, seq, size = "bench/tally/long", time.time_ns() // 1000, 0
    for version in range(1, 20_001):
        size += entry_size(EVENT)
        head = Head(version, seq + version, 0, size)
        await archive.store(Write(key, StoredEntry(version, seq + version, EVENT), head, [os.urandom(16)]))
    taken: list[float] = []
    for turn in range(1000):
        before = 100 + turn * 7919 % 19_900
        started = time.perf_counter()
        page = await archive.entries(key, before=before, limit=50)
        taken.append(time.perf_counter() - started)
        assert len(page) == 50
    taken.sort()
    return Result(
        f"{name}: history pages of 50", 1 / taken[500], "/s", more={"p50 ms": taken[500] * 1e3, "p99 ms": taken[990] * 1e3}
    )  # fmt: skip


async def durable_sends(stack: Stack, environment: Mapping[str, str]) -> list[Result]:
    """Sends over Converse to Chat on CQL, beside Chat on SQLite, in turns."""
    for name in ("tradewind_chat",):
        await asyncio.to_thread(cql_settings, environment, name)
    quiet = {"TRADEWIND_ORDER_EVENTS": "false", "TRADEWIND_SEARCH": "off"}
    sqlite = await stack.serve("chat", "services.chat", quiet)
    other = Stack(stack.folder / "cql-stack")
    await asyncio.to_thread(other.start)
    try:
        cql = await other.serve("chat", "services.chat", {**quiet, **environment})
        chats = Chat(other, cql, cql), Chat(stack, sqlite, sqlite)
        results = [await _sends(*chats, 32, 32, 8, 0.5), await _sends(*chats, 1, 64, 16, 0.5)]
        for chat in chats:
            await chat.channel.close()
            await chat.echo.close()
        return results
    finally:
        await asyncio.to_thread(other.stop)


async def _sends(ours: Chat, theirs: Chat, conversations: int, streams: int, in_flight: int, mark: float) -> Result:
    rounds: tuple[list[Round], list[Round]] = ([], [])
    places = [[await chat.conversation() for _ in range(conversations)] for chat in (ours, theirs)]
    for turn in range(ROUNDS + 1):
        for chat, targets, kept in zip((ours, theirs), places, rounds, strict=True):
            cpu = chat.stack.cpu("chat")
            done = await converse_streams(chat.converse, targets, streams, in_flight, SECONDS)
            if turn:
                kept.append(Round(done.rate, (chat.stack.cpu("chat") - cpu) / max(1, done.count) * 1e6))
    what = "one hot conversation" if conversations == 1 else f"{conversations} conversations"
    return compared(f"durable sends on one CQL node, {what}", "/s", *rounds, "on SQLite", mark)


async def measure(stack: Stack) -> list[Result]:
    """All of the store's measurements."""
    async with cassandra(stack.folder / "cassandra") as cluster:
        environment = dict(cluster.settings())
        settings = await asyncio.to_thread(cql_settings, environment, "bench")
        archive = await CqlArchive.open(settings)
        bare = await asyncio.to_thread(Bare, settings)
        sqlite = SqliteArchive.open(stack.folder / "pages.db")
        results = [await write_path(archive, bare, events) for events in (1, 50)]
        results += [await history_pages(archive, "CQL"), await history_pages(sqlite, "SQLite")]
        await asyncio.to_thread(bare.close)
        await archive.close()
        await sqlite.close()
        return results + await durable_sends(stack, environment)
