"""What Chat's parts count, of a Chat that does a little of everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat.moderation.hook_settings import MessageHook
from services.chat.push.kinds import ROUNDS
from services.hook_simulator.service import WordHook, serve
from tests.integration.attachment_world import Sender, some_bytes
from tests.integration.chat_world import TENANT, refused
from tests.integration.presence_world import ONLINE, Person
from tests.integration.push_world import push_world, register
from tests.servers import NatsServer

_SIZE = 5000
_EXPECTED = {
    "presence.people": 1,
    "presence.watched": 1,
    "typing.watched": 1,
    "whispers dropped": 0,
    "whispers lost": 0,
    "hook.duration accepted": 1,
    "hook.duration changed": 1,
    "hook.duration refused": 1,
    "attachments.bytes up": _SIZE,
    "attachments.bytes down": _SIZE,
    "attachments.collected condemn": 1,
    "attachments.collected delete": 1,
    "attachments.transfers": 0,
}


def read(reader: InMemoryMetricReader) -> dict[str, float]:
    """Give every number, named after its metric and the values of its labels; of histograms how many there were."""
    found: dict[str, float] = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    labels = [str(each) for each in (point.attributes or {}).values()]
                    name = " ".join([metric.name.removeprefix("tradewind."), *labels])
                    if isinstance(point, HistogramDataPoint):
                        found[name] = point.count
                    elif isinstance(point, NumberDataPoint):
                        found[name] = point.value
    return found


async def until(reader: InMemoryMetricReader, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    async with asyncio.timeout(60):
        while not holds(found := read(reader)):
            await asyncio.sleep(0.05)
    return found


async def test_what_the_parts_of_chat_do_is_counted(own_nats_server: NatsServer, tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    hook, port = await serve(WordHook(refused=["spam"], masked=["darn"]), "127.0.0.1:0")
    options: dict[str, Any] = {
        "meter": MeterProvider([reader]).get_meter("test"),
        "message_hooks": {TENANT: MessageHook(target=f"127.0.0.1:{port}", timeout=10.0)},
        "search": "embedded",
        "presence_beat": 0.2,
        "attachment_keep_unsent": 0.001,
        "attachment_grace": 0.0,
    }
    try:
        async with push_world(own_nats_server.url, tmp_path, **options) as (world, pushed):
            ann, bob, files = Person(world, "ann"), world.user("bob"), Sender(world, "ann")
            await register(bob, "bob's phone")
            group = (await ann.user.create_group("bob")).conversation_id
            await ann.user.send(group, "hello")
            await ann.user.send(group, "darn")
            assert (await refused(ann.user.send(group, "spam")))[0] is grpc.StatusCode.PERMISSION_DENIED
            await pushed.until("bob's phone", 1)  # while bob is away
            hears = bob.converse()
            await hears.write(
                subscribe={group: 0},
                subscribe_typing=pb.SubscribeTyping(),
                subscribe_presence=pb.SubscribePresence(add_user_ids=["ann"]),
            )
            await ann.report(ONLINE)
            await hears.until(lambda talk: len(talk.news) >= 2)
            await ann.types(group)
            unsent = await files.upload(group, some_bytes(_SIZE))
            assert len(await files.download(unsent.attachment_id)) == _SIZE
            for _ in range(2):  # condemned, and then deleted
                await world.attachments.collector.sweep()
            found = await until(
                reader,
                lambda now: now.get("search.behind") == 0 == now["search.lag"] and now.get("push.rounds over", 0) > 0,
            )
            hears.call.cancel()
            gone = await until(reader, lambda now: now["presence.watched"] == 0 == now["typing.watched"])
    finally:
        await hook.stop(None)
    assert {name: found[name] for name in _EXPECTED} == _EXPECTED
    assert found["whispers said"] > 0 < found["whispers heard"]
    assert found["push.notifications delivered"] >= 1  # two where the messages came in two rounds
    assert found[f"timers.late {ROUNDS.name}"] >= 1
    assert gone["presence.people"] == 1  # its lease lasts on
