"""A client that was away for long: what it then receives is exactly what was said, in bounded memory on both sides."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import psutil
import pytest
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.sdk import Client

from tests.integration.chat_world import ChatWorld, User, chat_world, request_id
from tests.servers import NatsServer

MISSED = 100_000
MOST_BYTES = 96 << 20
"""What server, client and what lies between them may grow by, together; the events are some 20 MB on the wire, and 100 MB as objects."""


async def say(talker: User, group: str, many: int) -> None:
    """Say many things over four streams."""
    words = talker.message(group, "word " * 12)

    async def stream(count: int) -> None:
        talk = talker.converse()
        for done in range(0, count, 250):
            frame = pb.ConverseRequest()
            for _ in range(min(250, count - done)):
                said = frame.sends.add()
                said.CopyFrom(words)
                said.request_id = request_id()
            await talk.call.write(frame)
            enough = len(talk.results) + len(frame.sends)
            await talk.until(lambda talk, enough=enough: len(talk.results) >= enough)  # type: ignore[misc]
        talk.call.cancel()

    await asyncio.gather(*(stream(many // 4) for _ in range(4)))


def memory() -> int:
    """Bytes that this process, server and client in one, holds."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def token(user: User) -> str:
    return user.metadata[0][1].removeprefix("Bearer ")


async def follow(world: ChatWorld, user: User, group: str, how: str) -> None:
    """Take everything from the beginning; the client holds that versions are dense."""
    async with Client(f"127.0.0.1:{world.server.port}", token(user)) as client:
        if how == "watch":
            async for event in client.chat.watch(group):
                if event.version == MISSED + 1:
                    return
        async with client.chat.converse(buffer=1024) as session:
            session.subscribe(group)
            count = 0
            async for _, event in session:
                count += 1
                assert event.version == count
                if count == MISSED + 1:
                    return


@pytest.mark.timeout(900)
async def test_who_was_away_for_100_000_messages_gets_them_all(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, bob = world.user("ann"), world.user("bob")
        group = (await ann.create_group("bob")).conversation_id
        await say(ann, group, MISSED)
        unread = (await bob.call("GetUnread", pb.GetUnreadRequest(conversation_id=group))).unread
        assert unread.count == MISSED
        before = memory()
        for how in ("watch", "converse"):
            async with asyncio.timeout(300):
                await follow(world, bob, group, how)
            assert memory() - before < MOST_BYTES, how
