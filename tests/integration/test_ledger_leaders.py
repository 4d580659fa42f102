"""Three servers keep the log: whoever reads it goes on when the server dies that leads it, or that leads the reader's place in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from services.ledger.ending import end
from services.ledger.engine import NoTracer
from services.ledger.errors import LedgerError
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings, stream_name
from services.ledger.sqlite import SqliteArchive
from services.mail.stats.lease import BUCKET, Lease
from tests.integration.ledger_world import Seen, fresh_service
from tests.ports import free_port
from tests.servers import NatsServer
from tests.tally import TALLY, Add, fresh_request, tally

SERVERS = 3
ROUND = 20


def configurations() -> list[tuple[str, ...]]:
    """Lines for each of three servers that know each other."""
    ports = [free_port() for _ in range(SERVERS)]
    routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in ports)
    return [
        (f"server_name: s{number}", f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}')
        for number, port in enumerate(ports)
    ]


@asynccontextmanager
async def cluster(make: Callable[..., NatsServer]) -> AsyncIterator[tuple[list[NatsServer], Client]]:
    servers = [make(options) for options in configurations()]
    await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
    urls = [server.url for server in servers]
    client = await nats.connect(urls, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_passed_over)
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    await client.jetstream().add_stream(name="ready", subjects=["ready"], num_replicas=SERVERS)
                    break
                except (TimeoutError, NatsError):
                    await asyncio.sleep(0.1)
        yield servers, client
    finally:
        await client.close()


async def _passed_over(_error: Exception) -> None:
    """What a dying server does to connections is no finding."""


async def add_patiently(ledger: Ledger) -> None:
    """Count one, however long it takes."""
    named = fresh_request()
    async with asyncio.timeout(60):
        while True:
            try:
                await ledger.execute(tally("till"), Add(1), named)
                return
            except LedgerError:
                await asyncio.sleep(0.05)


async def leader(client: Client, stream: str, durable: str = "") -> int:
    """The number of the server that leads a stream, or a consumer of it."""
    async with asyncio.timeout(60):
        while True:
            try:
                js = client.jetstream()
                info = await (js.consumer_info(stream, durable) if durable else js.stream_info(stream))
                if info.cluster is not None and info.cluster.leader:
                    return int(info.cluster.leader.removeprefix("s"))
            except (TimeoutError, NatsError):
                await asyncio.sleep(0.1)


async def test_readers_outlive_those_who_lead(make_nats_server: Callable[..., NatsServer], tmp_path: Path) -> None:
    async with cluster(make_nats_server) as (servers, client), asyncio.TaskGroup() as tasks:
        service, seen, tailed, held = fresh_service(), Seen(), list[int](), asyncio.Event()
        archive = SqliteArchive.open(tmp_path / "a.db")
        try:
            settings = LogSettings(service, partitions=1, replicas=SERVERS)
            ledger = await Ledger.open(client, archive, NoTracer(), settings, [TALLY])
            ledger.consume("reader", seen)

            async def tail() -> None:
                async for page in ledger.tail("tail", 0).pages():
                    tailed.extend(event.version for entry in page.entries for event in entry.events)

            async def hold() -> None:
                held.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    held.clear()

            readers = [
                tasks.create_task(tail()),
                tasks.create_task(Lease(client, "one", renewed=0.2, replicas=SERVERS).hold(hold)),
            ]
            last = 0
            stream = stream_name(service, ledger.epoch)
            for which in (lambda: leader(client, stream), lambda: leader(client, stream, "reader-0"), None):
                for _ in range(ROUND):
                    await add_patiently(ledger)
                last += ROUND
                await seen.until(tally("till"), last, timeout=60)
                if which is None:
                    break
                victim = servers[await which()]
                await asyncio.to_thread(victim.kill)
                for _ in range(ROUND):
                    await add_patiently(ledger)
                last += ROUND
                await seen.until(tally("till"), last, timeout=60)
                await asyncio.to_thread(victim.start)
            versions = seen.versions(tally("till"))
            assert sorted(set(versions)) == list(range(1, last + 1))
            async with asyncio.timeout(60):
                while len(tailed) < last:
                    await asyncio.sleep(0.02)
                await held.wait()
            assert tailed == list(range(1, last + 1))
            bucket = await client.jetstream().stream_info(f"KV_{BUCKET}")
            assert bucket.config.num_replicas == SERVERS
            durable = await client.jetstream().consumer_info(stream, "reader-0")
            assert durable.cluster is not None
            assert len(durable.cluster.replicas or []) == SERVERS - 1
            await end(readers)
            await ledger.close()
        finally:
            await archive.close()
