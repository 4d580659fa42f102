"""Mentions of who is here: those who are online when it is said, the same for every process and ever after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_pb2, inbox_service_pb2_grpc, presence_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import inbox_service_pb2 as inbox
from tradewind.chat.v1 import presence_service_pb2 as presence

from services.chat import domain, here
from services.chat.access import Actor
from services.chat.commands import aggregate_of
from services.chat.lookups import Lookups
from services.chat.messaging import Messaging
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world, refused, request_id
from tests.servers import NatsServer

HERE = chat_pb2.Mentions(here=True)


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


async def is_there(user: User, state: presence.PresenceState.ValueType) -> None:
    stub = presence_service_pb2_grpc.PresenceServiceStub(user.channel)
    request = presence.ReportPresenceRequest(device_id="phone", state=state)
    await stub.ReportPresence(request, metadata=user.metadata)


def calls(user: User, name: str, mentions: chat_pb2.Mentions = HERE) -> pb.SendMessageRequest:
    request = user.message(name, "who is here?")
    request.content.mentions.CopyFrom(mentions)
    return request


async def mentioned(user: User, name: str) -> tuple[int, int]:
    """How many mentions a user has not read: by the conversation, and by its inbox."""
    unread = (await user.call("GetUnread", pb.GetUnreadRequest(conversation_id=name))).unread
    stub = inbox_service_pb2_grpc.InboxServiceStub(user.channel)
    listed = await stub.ListInbox(inbox.ListInboxRequest(), metadata=user.metadata)
    return unread.mention_count, listed.entries[0].mention_count


async def test_who_is_online_is_mentioned_and_stays_so(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        chat_world(own_nats_server.url, tmp_path) as one,
        chat_world(own_nats_server.url, tmp_path, signer=one.signer) as other,
    ):
        ada, bob, cy, dee = (one.user(name) for name in ("ada", "bob", "cy", "dee"))
        name = (await ada.create_group("bob", "cy", "dee")).conversation_id
        for user in (ada, bob):
            await is_there(user, presence.PRESENCE_STATE_ONLINE)
        await is_there(dee, presence.PRESENCE_STATE_AWAY)
        request = calls(ada, name)
        first = await ada.call("SendMessage", request)
        await is_there(bob, presence.PRESENCE_STATE_OFFLINE)
        await is_there(cy, presence.PRESENCE_STATE_ONLINE)
        assert await ada.call("SendMessage", request) == first
        for world in (one, other):
            found = [await mentioned(world.user(each), name) for each in ("ada", "bob", "cy", "dee")]
            assert found == [(0, 0), (1, 1), (0, 0), (0, 0)]
            (event,) = (await world.user("cy").watch(name, first.version - 1).read()).events
            assert (event.message.mentions.here, event.message.mentions.here_counted) == (True, True)
            assert list(event.message.mentions.here_user_ids) == ["bob"]
        talk = ada.converse()
        again = calls(ada, name, chat_pb2.Mentions(here=True, user_ids=["cy"]))
        await talk.write(again)
        await talk.until(lambda it: again.request_id in it.results)
        talk.call.cancel()
        assert [await mentioned(each, name) for each in (bob, cy)] == [(1, 1), (1, 1)]


async def test_who_may_not_mention_all_mentions_nobody(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    await is_there(ada, presence.PRESENCE_STATE_ONLINE)
    assert await refused(bob.call("SendMessage", calls(bob, name))) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    for made_up in (chat_pb2.Mentions(here=True, here_counted=True), chat_pb2.Mentions(here_user_ids=["bob"])):
        assert (await refused(ada.call("SendMessage", calls(ada, name, made_up))))[1] == "INVALID_FIELD"


@pytest.mark.parametrize("case", ["too many", "too long", "too large", "unknown", "nobody"])
async def test_beyond_what_is_recorded_all_are_mentioned(
    world: ChatWorld, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    ada = world.user("ada")
    name = (await ada.create_group("bob", "cy")).conversation_id
    for limit, value in (("too many", "MOST_HERE"), ("too long", "MOST_HERE_BYTES"), ("too large", "MOST_MEMBERS")):
        if case == limit:
            monkeypatch.setattr(here, value, 1)

    async def online(_tenant: str, user_ids: Collection[str]) -> frozenset[str] | None:
        return {"unknown": None, "nobody": frozenset[str]()}.get(case, frozenset(user_ids))

    asked = Messaging(world.ledger, Lookups(world.ledger))
    asked.online = online
    actor = Actor(TENANT, "ada", "", False, False)
    request: Any = calls(ada, name)
    request.request_id = request_id()
    command, _ = await asked.prepare(request, actor, aggregate_of(actor, name), 1, None)
    assert isinstance(command, domain.SendMessage)
    said = command.said
    assert said is not None
    assert (said.to_all, said.here) == ((False, ()) if case == "nobody" else (True, None))
    mentions = chat_pb2.MessageContent.FromString(command.content).mentions
    assert mentions.here_counted == (case == "nobody")
