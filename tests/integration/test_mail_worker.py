"""Delivery when processes die, meet and are late; and the letters that orders ask for."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from email import message_from_bytes
from pathlib import Path
from typing import Any

import nats
import pytest
from tradewind.order.v1 import order_pb2
from tradewind.type.v1.money_pb2 import Money

from services.ledger.decider import Kind, Request
from services.ledger.engine import NoTracer
from services.ledger.ids import AggregateId, fingerprint
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings
from services.ledger.sqlite import SqliteArchive
from services.mail.domain import FINAL, Phase
from services.mail.kinds import mail_of
from services.mail.rendering import Templates
from services.mail.taking import Desk
from services.mail.worker import OrderWorker
from tests.integration.mail_world import TENANT, MailWorld, mail_to, mail_world, request_id, settings_for
from tests.servers import NatsServer
from tests.smtp_sink import Sink


@asynccontextmanager
async def mail_process(
    nats_url: str, folder: Path, sink: Sink, **options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs Mail as a process of its own, as configured for the tests."""
    settings = settings_for(nats_url, folder, sink, **options)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRADEWIND_")}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if name == "nats_urls":
            text = nats_url
        elif isinstance(value, tuple):
            text = ",".join(map(str, value))
        else:
            text = str(value)
        environment[f"TRADEWIND_{name.upper()}"] = text
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.mail", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_process_that_dies_between_text_and_answer_leaves_an_unknown_outcome(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with Sink(slow_seconds=30) as sink:
        options: dict[str, Any] = {"smtp_data_timeout": 2.0}
        async with mail_world(own_nats_server.url, tmp_path, sink, **options) as world:
            mail_id = await world.send("ann@example.org")
            await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
            await stop_delivering(world)
            mail_id = await world.send("slow@example.org")
        async with mail_process(own_nats_server.url, tmp_path, sink, **options) as process:
            await sink.until(2)
            process.kill()
            await process.wait()
        async with mail_world(own_nats_server.url, tmp_path, sink, **options) as world:
            mail = await world.until(mail_id, lambda mail: mail.phase is Phase.OUTCOME_UNKNOWN)
        assert len(mail.attempts) == 1
        assert len(sink.to("slow@example.org")) == 1


async def test_a_process_that_dies_before_an_attempt_loses_no_mail(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with Sink() as sink:
        async with mail_world(own_nats_server.url, tmp_path, sink) as world:
            await stop_delivering(world)
            mail_id = await world.send("ann@example.org")
        async with mail_world(own_nats_server.url, tmp_path, sink) as world:
            await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
        assert sink.count == 1


async def stop_delivering(world: MailWorld) -> None:
    """Lets a world take mails and deliver none."""
    await world.house.delivery.close(5.0)


async def test_a_process_paused_past_its_attempt_sends_nothing_late(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with Sink(slow_seconds=30) as sink:
        options: dict[str, Any] = {"smtp_data_timeout": 1.0}
        async with mail_world(own_nats_server.url, tmp_path, sink, **options) as world:
            await stop_delivering(world)
            mail_id = await world.send("slow@example.org")
        async with mail_process(own_nats_server.url, tmp_path, sink, **options) as process:
            await sink.until(1)
            await pause(process, tmp_path / "mail.db")
            async with mail_world(own_nats_server.url, tmp_path, sink, **options) as world:
                await world.until(mail_id, lambda mail: mail.phase is Phase.OUTCOME_UNKNOWN)
                process.send_signal(signal.SIGCONT)
                other = await world.send("ann@example.org")
                await world.until(other, lambda mail: mail.phase is Phase.DELIVERED)
                mail = await world.until(mail_id, lambda mail: mail.phase in FINAL)
        assert (mail.phase, len(mail.attempts)) == (Phase.OUTCOME_UNKNOWN, 1)
        assert len(sink.to("slow@example.org")) == 1


async def pause(process: asyncio.subprocess.Process, store: Path) -> None:
    """Pauses a process while it does not hold the lock of the store's file, which nobody else could take from it."""
    while True:
        process.send_signal(signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(store, timeout=0.2)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
            return
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.05)


async def test_a_process_that_ends_lets_attempts_end_and_begins_none(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with Sink(slow_seconds=0.7) as sink:
        options: dict[str, Any] = {"smtp_data_timeout": 5.0, "smtp_mails_per_domain": 2}
        async with mail_world(own_nats_server.url, tmp_path, sink, **options) as world:
            ids = await asyncio.gather(*(world.send("slow@example.org") for _ in range(6)))
            await sink.until(2)
        assert sink.count == 2
        async with mail_world(own_nats_server.url, tmp_path, sink, **options) as world:
            mails = [await world.until(mail_id, lambda mail: mail.phase in FINAL) for mail_id in ids]
        assert [(mail.phase, len(mail.attempts)) for mail in mails] == [(Phase.DELIVERED, 1)] * 6
        assert sink.count == 6


async def test_many_wakes_of_one_mail_send_it_once(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        Sink() as sink,
        mail_world(own_nats_server.url, tmp_path / "a", sink) as world,
    ):
        ids = [await world.send(f"to{number}@example.org") for number in range(20)]
        await asyncio.gather(
            *(world.house.delivery.wake(mail_of(TENANT, mail_id)) for mail_id in ids for _ in range(5))
        )
        for mail_id in ids:
            await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
        assert sink.count == 20


async def test_two_processes_share_the_work_and_send_each_mail_once(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Sink() as sink,
        mail_world(own_nats_server.url, tmp_path, sink) as one,
        mail_world(own_nats_server.url, tmp_path, sink) as two,
    ):
        ids = [await world.send(f"to{number}@example.org") for number in range(50) for world in (one, two)]
        wakes = (world.house.delivery.wake(mail_of(TENANT, mail_id)) for mail_id in ids for world in (one, two))
        await asyncio.gather(*wakes)
        for mail_id in ids:
            await one.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
        assert sink.count == 100


async def test_an_outage_of_the_log_loses_no_mail_and_doubles_none(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with Sink() as sink, mail_world(own_nats_server.url, tmp_path, sink) as world:
        request = mail_to("ann@example.org")
        await world.send("first@example.org")
        await sink.until(1)
        await asyncio.to_thread(own_nats_server.kill)
        await asyncio.to_thread(own_nats_server.start)
        async with asyncio.timeout(60):
            while True:
                try:
                    mail_id = (await world.call("SendMail", request, timeout=5)).mail_id
                    break
                except Exception:  # noqa: BLE001 - whatever an outage answers, the same request settles it
                    await asyncio.sleep(0.1)
        await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
        assert len(sink.to("ann@example.org")) == 1


# --- Orders -------------------------------------------------------------------------------------


def _versioned(event: order_pb2.OrderEvent, version: int) -> bytes:
    event.version = version
    return event.SerializeToString()


ORDERS: Kind[int, order_pb2.OrderEvent, order_pb2.OrderEvent] = Kind(
    name="order",
    initial=int,
    decide=lambda _state, event: [event],
    evolve=lambda state, _event: state + 1,
    encode=_versioned,
    decode=order_pb2.OrderEvent.FromString,
    state_type=int,
)


def order(order_id: str) -> order_pb2.Order:
    pound = "GBP"
    return order_pb2.Order(
        order_id=order_id,
        lines=[
            order_pb2.OrderLine(
                sku="tea", title="Tea & Co", quantity=2, unit_price=Money(currency_code=pound, minor_units=525)
            )
        ],
        total=Money(currency_code=pound, minor_units=1050),
    )


def happened(kind: str, order_id: str, email: str, **fields: Any) -> order_pb2.OrderEvent:
    event = order_pb2.OrderEvent()
    event.event_time.GetCurrentTime()
    news = getattr(event, kind)
    news.order.CopyFrom(order(order_id))
    news.contact.CopyFrom(order_pb2.Contact(name="Ann", email=email))
    for name, value in fields.items():
        setattr(news, name, value)
    return event


@pytest.fixture
async def orders(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Ledger]:
    client = await nats.connect(own_nats_server.url)
    archive = SqliteArchive.open(tmp_path / "order.db")
    ledger = await Ledger.open(client, archive, NoTracer(), LogSettings("order", partitions=2), [ORDERS])
    yield ledger
    await ledger.close()
    await archive.close()
    await client.close()


async def write(ledger: Ledger, order_id: str, *events: order_pb2.OrderEvent) -> None:
    for event in events:
        name = request_id()
        await ledger.execute(AggregateId(TENANT, "order", order_id), event, Request(name, fingerprint(name)))


def subjects_and_texts(sink: Sink) -> list[tuple[str, str]]:
    found = []
    for mail in sink.mails:
        message = message_from_bytes(mail.data)
        text = next(part for part in message.walk() if part.get_content_type() == "text/plain")
        found.append((str(message["Subject"]), bytes(text.get_payload(decode=True)).decode()))
    return found


async def test_orders_are_written_about_once_each(own_nats_server: NatsServer, tmp_path: Path, orders: Ledger) -> None:
    async with Sink() as sink:
        async with mail_world(own_nats_server.url, tmp_path, sink, order_events=True) as world:
            await write(
                orders,
                "o-1",
                happened("confirmed", "o-1", "ann@example.org"),
                happened("completed", "o-1", "ann@example.org"),
            )
            await write(orders, "o-2", happened("rejected", "o-2", "bob@example.org", reason="PAYMENT_DECLINED"))
            await write(orders, "o-3", happened("cancelled", "o-3", "eve@example.org", reason="changed my mind"))
            await write(orders, "o-4", happened("confirmed", "o-4", ""), happened("confirmed", "o-4", "no address"))
            await sink.until(4)
            # The same events once more, as a consumer that lost its place would get them.
            again: list[Any] = []
            worker = OrderWorker(world.ledger, Desk(world.hosted.settings, Templates(), None), world.hosted.telemetry)

            async def handle(delivered: Any) -> None:
                await worker.handle(delivered)
                again.extend(delivered.events)

            world.ledger.consume(role="again", handle=handle, source="order")
            async with asyncio.timeout(60):
                while len(again) < 6:
                    await asyncio.sleep(0.01)
        told = subjects_and_texts(sink)
        assert sorted(subject for subject, _ in told) == [
            "Confirmation of your order",
            "Receipt for your order: 10.50 GBP",
            "We could not take your order",
            "Your order is cancelled",
        ]
        by_subject = dict(told)
        assert "2 x Tea & Co: 10.50 GBP" in by_subject["Confirmation of your order"]
        assert "Order o-1" in by_subject["Receipt for your order: 10.50 GBP"]
        assert "the payment was declined" in by_subject["We could not take your order"]
        assert "changed my mind" in by_subject["Your order is cancelled"]
        receipt = next(mail.data for mail in sink.mails if b"Receipt" in mail.data)
        html = next(part for part in message_from_bytes(receipt).walk() if part.get_content_type() == "text/html")
        assert "/o/" in bytes(html.get_payload(decode=True)).decode()


@pytest.mark.parametrize("broken", ["dkim_key_file", "tracking_key_file", "tracking_listen"])
async def test_a_process_that_cannot_start_says_why_in_one_line(
    own_nats_server: NatsServer, tmp_path: Path, broken: str
) -> None:
    async with Sink() as sink:
        bad = tmp_path / "bad"
        bad.write_text("no key")
        value: Any = f"127.0.0.1:{sink.port}" if broken == "tracking_listen" else bad
        async with mail_process(own_nats_server.url, tmp_path, sink, **{broken: value}) as process:
            _, said = await asyncio.wait_for(process.communicate(), 60)
        lines = [line for line in said.decode().splitlines() if not line.startswith("{")]
        assert process.returncode == 3
        assert len(lines) == 1
        assert lines[0].startswith("cannot start: ")
