"""A process of Chat is killed while messages of many are due: each is said once, by whoever is left, and what ends is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.integration.chat_world import User, request_id, watched
from tests.integration.test_chat_processes import pair
from tests.integration.test_chat_scheduled import said, schedule, soon
from tests.servers import NatsServer
from tests.tally import eventually

PEOPLE = 24


async def test_what_is_due_while_a_process_is_killed_is_said_once(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with pair(own_nats_server.url, tmp_path) as (one, other):
        ada = other.member("ada")
        names = [f"user-{number}" for number in range(PEOPLE)]
        name = (await ada.create_group(*names)).conversation_id
        short = chat_pb2.MessageContent(text="short", expire_after=Duration(seconds=5))
        first = pb.SendMessageRequest(request_id=request_id(), conversation_id=name, content=short)
        version = (await one.member("user-0").call("SendMessage", first)).version
        people = [(one, other)[number % 2].member(user) for number, user in enumerate(names)]
        waiting = await asyncio.gather(*(schedule(each, name, each.id, 3600) for each in people))
        await asyncio.gather(*(soon(each, message) for each, message in zip(people, waiting, strict=True)))

        async def some_are_said() -> bool:
            return len(await said(ada, name)) > 2

        await eventually(some_are_said)
        await one.kill()

        async def all_are_said() -> bool:
            return len(await said(ada, name)) >= PEOPLE + 1

        await eventually(all_are_said)
        await eventually(lambda: _is_told(ada, name, version))
        found = [(sender, text) for sender, text in await said(ada, name) if text]
        assert sorted(found) == sorted((each, each) for each in names)


async def _is_told(user: User, name: str, version: int) -> bool:
    """Look whether the message was told to be no more."""
    now = (await user.call("GetConversation", pb.GetConversationRequest(conversation_id=name))).conversation.version
    stream = user.watch(name)
    events = await watched(stream, now)
    stream.cancel()
    return version in [each.message_version for event in events for each in event.messages_expired.messages]
