"""Statistics: exact, live, unharmed by being told twice, and the same when they are made again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.mail.v1 import mail_pb2
from tradewind.mail.v1 import mail_service_pb2 as pb
from tradewind.mail.v1.mail_service_pb2 import MailStats

from services.ledger.ending import end
from services.mail.domain import FINAL
from services.mail.stats.counting import COUNTS, SECONDS
from services.mail.stats.lease import Lease
from services.mail.stats.reading import read_rows, summed
from services.mail.stats.rollup import TABLE, Rollup, keep
from tests.integration.mail_world import TENANT, MailWorld, mail_world
from tests.servers import NatsServer
from tests.smtp_sink import Sink

DIMENSIONS = (
    pb.STATS_DIMENSION_TENANT,
    pb.STATS_DIMENSION_STREAM,
    pb.STATS_DIMENSION_CAMPAIGN,
    pb.STATS_DIMENSION_TEMPLATE,
    pb.STATS_DIMENSION_DOMAIN,
)


@pytest.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[MailWorld]:
    async with Sink() as sink, mail_world(own_nats_server.url, tmp_path, sink) as made:
        yield made


async def play(world: MailWorld) -> None:
    """Delivers, defers, bounces and loses some mails of several labels."""
    ids = await asyncio.gather(
        *(world.send(f"to{n}@{domain}", campaign=campaign) for n in range(10) for domain, campaign in LABELS),
        *(world.send(f"{local}@example.org") for local in ("bounce", "greylist", "drop-after-data")),
        world.send("ann@bulk.example", stream=mail_pb2.MAIL_STREAM_BULK),
    )
    for mail_id in ids:
        await world.until(mail_id, lambda mail: mail.phase in FINAL)


LABELS = (("example.org", "spring"), ("example.net", ""))
# 24 mails; of them one bounces, one is lost sight of, one is tried twice.
WHOLE = {"queued": 24, "attempts": 25, "delivered": 22, "deferred": 1, "bounced": 1, "outcome_unknown": 1}


def counts(stats: MailStats) -> dict[str, int]:
    return {name: getattr(stats, name) for name in COUNTS if getattr(stats, name)}


async def stats(world: MailWorld, dimension: int, **fields: Any) -> list[MailStats]:
    request = pb.GetMailStatsRequest(dimension=dimension, **fields)  # type: ignore[arg-type]
    return list((await world.call("GetMailStats", request, roles=("shop",))).stats)


async def until_counted(world: MailWorld, expected: dict[str, int], **fields: Any) -> None:
    async with asyncio.timeout(60):
        while [counts(each) for each in await stats(world, pb.STATS_DIMENSION_TENANT, **fields)] != [expected]:
            await asyncio.sleep(0.02)


async def test_every_dimension_and_period_counts_the_same_mails(world: MailWorld) -> None:
    await play(world)
    await until_counted(world, WHOLE)
    by_domain = {each.value: counts(each) for each in await stats(world, pb.STATS_DIMENSION_DOMAIN)}
    assert by_domain["example.net"] == {"queued": 10, "attempts": 10, "delivered": 10}
    assert by_domain["bulk.example"] == {"queued": 1, "attempts": 1, "delivered": 1}
    assert sum(each["queued"] for each in by_domain.values()) == 24
    by_stream = {each.value: each.queued for each in await stats(world, pb.STATS_DIMENSION_STREAM)}
    assert by_stream == {"transactional": 23, "bulk": 1}
    assert {each.value: each.queued for each in await stats(world, pb.STATS_DIMENSION_CAMPAIGN)} == {"spring": 10}
    assert await stats(world, pb.STATS_DIMENSION_TEMPLATE) == []
    only = await stats(world, pb.STATS_DIMENSION_DOMAIN, value="example.net")
    assert [each.value for each in only] == ["example.net"]
    for period, seconds in SECONDS.items():
        rows = await stats(world, pb.STATS_DIMENSION_TENANT, period=period)
        assert sum(row.queued for row in rows) == 24
        assert all(row.period_start.seconds % seconds == 0 for row in rows)


async def test_a_span_of_time_is_answered_and_no_more(world: MailWorld) -> None:
    await world.send("ann@example.org")
    now = int(time.time())
    async with asyncio.timeout(60):
        while not await stats(world, pb.STATS_DIMENSION_TENANT):
            await asyncio.sleep(0.02)
    past, future = Timestamp(seconds=now - 7200), Timestamp(seconds=now - 3600)
    minute = pb.STATS_PERIOD_MINUTE
    assert await stats(world, pb.STATS_DIMENSION_TENANT, period=minute, start_time=past, end_time=future) == []
    assert await stats(world, pb.STATS_DIMENSION_TENANT, period=minute, start_time=past)


async def test_tenants_see_their_own(world: MailWorld) -> None:
    await world.send("ann@example.org")
    answer = await world.call("GetMailStats", pb.GetMailStatsRequest(), tenant="other")
    assert list(answer.stats) == []


async def test_a_watch_shows_a_snapshot_and_then_every_change(world: MailWorld) -> None:
    await world.send("ann@example.org")
    async with asyncio.timeout(60):
        while not await stats(world, pb.STATS_DIMENSION_DOMAIN):
            await asyncio.sleep(0.02)
    request = pb.WatchMailStatsRequest(dimension=pb.STATS_DIMENSION_DOMAIN, value="example.org")
    stream = world.call("WatchMailStats", request, roles=("shop",))
    first = await stream.read()
    assert first.snapshot
    assert [each.value for each in first.stats] == ["example.org"]
    for number in range(9):
        await world.send(f"to{number}@example.org")
        await world.send(f"to{number}@example.net")
    seen: dict[int, MailStats] = {row.period_start.seconds: row for row in first.stats}
    async with asyncio.timeout(60):
        while sum(row.delivered for row in seen.values()) < 10:
            frame = await stream.read()
            assert not frame.snapshot
            for row in frame.stats:
                assert row.value == "example.org"
                known = seen.get(row.period_start.seconds)
                assert known is None or row.delivered >= known.delivered
                seen[row.period_start.seconds] = row
    stream.cancel()


async def test_a_watch_of_nothing_begins_with_an_empty_snapshot_and_ends_when_the_server_drains(
    world: MailWorld,
) -> None:
    stream = world.call("WatchMailStats", pb.WatchMailStatsRequest(), roles=("shop",))
    first = await stream.read()
    assert first.snapshot
    assert not first.stats
    drain = asyncio.create_task(world.hosted.server.drain())
    last = await stream.read()
    assert last.reconnect_after_ms > 0
    await drain


@asynccontextmanager
async def counting(world: MailWorld, role: str, table: str) -> AsyncIterator[None]:
    """Counts all partitions once more, under another name."""
    tasks = [
        asyncio.create_task(keep(world.ledger.tail(role, partition), Rollup(world.ledger, partition, 7, table), 0.01))
        for partition in range(2)
    ]
    try:
        yield
    finally:
        await end(tasks)


async def everything(world: MailWorld, table: str) -> list[list[MailStats]]:
    now = int(time.time())
    found = []
    for dimension in DIMENSIONS:
        for period in SECONDS:
            rows = await read_rows(world.ledger, TENANT, dimension, period, 0, now + 1, table=table)
            found.append(summed(rows))
    return found


async def test_telling_everything_twice_changes_nothing(world: MailWorld) -> None:
    await play(world)
    await until_counted(world, WHOLE)
    before = await everything(world, TABLE)
    for role in ("again", "once-more"):
        async with counting(world, role, TABLE):
            await taken_by(world, role)
    assert await everything(world, TABLE) == before
    await world.send("ann@example.org")
    await until_counted(world, {**WHOLE, "queued": 25, "attempts": 26, "delivered": 23})


async def test_counting_afresh_gives_the_same(world: MailWorld) -> None:
    await play(world)
    await until_counted(world, WHOLE)
    async with counting(world, "rebuild", "rebuilt"):
        await taken_by(world, "rebuild")
    assert await everything(world, "rebuilt") == await everything(world, TABLE)


async def test_counting_afresh_from_the_store_alone_gives_the_same(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with Sink() as sink:
        async with mail_world(own_nats_server.url, tmp_path, sink) as world:
            await play(world)
            await until_counted(world, WHOLE)
            before = await everything(world, TABLE)
        own_nats_server.stop()
        own_nats_server.wipe()
        own_nats_server.start()
        async with mail_world(own_nats_server.url, tmp_path, sink, log_exclusive=True) as world:
            async with counting(world, "rebuild", "rebuilt"):
                async with asyncio.timeout(60):
                    while await everything(world, "rebuilt") != before:
                        await asyncio.sleep(0.02)
            assert await everything(world, TABLE) == before
            await world.send("ann@example.org")
            await until_counted(world, {**WHOLE, "queued": 25, "attempts": 26, "delivered": 23})


async def taken_by(world: MailWorld, role: str) -> None:
    """Waits until a role is as far as the statistics are."""
    async with asyncio.timeout(60):
        identity = await world.hosted.archive.identity()
        for partition in range(2):
            while True:
                live = await world.hosted.archive.position(f"stats-{identity}", "mail", partition)
                other = await world.hosted.archive.position(f"{role}-{identity}", "mail", partition)
                if live is not None and other is not None and other.seq >= live.seq:
                    break
                await asyncio.sleep(0.02)


async def test_of_two_processes_one_counts_and_the_other_takes_over(world: MailWorld) -> None:
    running: list[str] = []

    async def work(name: str) -> None:
        running.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            running.remove(name)

    leases = {name: Lease(world.nats, "one", renewed=0.5) for name in ("first", "second")}
    tasks = {
        name: asyncio.create_task(lease.hold(lambda name=name: work(name)))  # type: ignore[misc]
        for name, lease in leases.items()
    }
    async with asyncio.timeout(60):
        while not running:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert len(running) == 1
        holder = running[0]
        await end([tasks[holder]])
        while running in ([], [holder]):
            await asyncio.sleep(0.01)
    await end(tasks.values())
    assert running == []
