"""Members who are not to be disturbed at night are told in the morning, as one, and not of what they have read meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

from tradewind.chat.v1 import device_service_pb2 as devices_pb

from tests.integration.push_world import prefer, push_world, register
from tests.integration.test_chat_push import data_of, read
from tests.servers import NatsServer


async def test_quiet_hours_end_in_one_notification(own_nats_server: NatsServer, tmp_path: Path) -> None:
    now = int(time.time()) // 60 % 1440
    hours = devices_pb.QuietHours(start_minute=(now - 1) % 1440, end_minute=(now + 30) % 1440, time_zone="UTC")
    async with push_world(own_nats_server.url, tmp_path) as (world, pushed):
        ann, bob, cy = world.user("ann"), world.user("bob"), world.user("cy")
        await register(bob, "bob-phone")
        await register(cy, "cy-phone")
        await prefer(bob, quiet_hours=hours)
        names = [(await ann.create_group("bob", "cy", title=title)).conversation_id for title in ("One", "Two")]
        for name in names:
            await ann.send(name, "Hello")
        await pushed.until("cy-phone", 2)
        assert await pushed.came("bob-phone") == []
        # The hours are over: he is asked for another night, and what was held back is told as one.
        await prefer(bob, quiet_hours=devices_pb.QuietHours(start_minute=1, end_minute=1, time_zone="UTC"))
        await ann.send(names[0], "Still there?")
        (told,) = await pushed.until("bob-phone", 1)
        assert data_of(told) == ("While it was quiet", "3 new messages in 2 conversations", 3)
        await pushed.until("cy-phone", 3)
        assert len(await pushed.came("bob-phone")) == 1


async def test_what_was_read_in_the_night_is_not_told_in_the_morning(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    now = int(time.time()) // 60 % 1440
    hours = devices_pb.QuietHours(start_minute=(now - 1) % 1440, end_minute=(now + 30) % 1440, time_zone="UTC")
    async with push_world(own_nats_server.url, tmp_path) as (world, pushed):
        ann, bob, cy = world.user("ann"), world.user("bob"), world.user("cy")
        await register(bob, "bob-phone")
        await register(cy, "cy-phone")
        await prefer(bob, quiet_hours=hours)
        names = [(await ann.create_group("bob", "cy", title=title)).conversation_id for title in ("One", "Two")]
        versions = [await ann.send(name, "Hello") for name in names]
        await pushed.until("cy-phone", 2)
        for name, version in zip(names, versions, strict=True):
            await read(bob, name, version)
        await prefer(bob)
        for name in names:
            await ann.send(name, "Good morning")
        assert [data_of(each)[1] for each in await pushed.until("bob-phone", 2)] == ["ann: Good morning"] * 2
