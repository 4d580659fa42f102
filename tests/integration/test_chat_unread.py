"""What is unread, exactly: counted beside a naive model, through gRPC, on a real log and store."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import receipts
from services.chat.commands import KIND
from services.ledger.ids import AggregateId
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world, refused, request_id
from tests.servers import NatsServer

NOT_A_MEMBER = (grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


async def say(user: User, name: str, **fields: Any) -> int:
    content = chat_pb2.MessageContent(text="hi", **fields)
    said = pb.SendMessageRequest(request_id=request_id(), conversation_id=name, content=content)
    return int((await user.call("SendMessage", said)).version)


async def mark(user: User, name: str, read: int = 0, delivered: int = 0) -> pb.Unread:
    request = pb.MarkMessagesRequest(conversation_id=name, read_version=read, delivered_version=delivered)
    answer: pb.Unread = (await user.call("MarkMessages", request)).unread
    return answer


async def unread(user: User, name: str) -> pb.Unread:
    answer: pb.Unread = (await user.call("GetUnread", pb.GetUnreadRequest(conversation_id=name))).unread
    return answer


class Model:
    """Everything, remembered as it happened."""

    def __init__(self) -> None:
        self.said: dict[int, tuple[str, frozenset[str], bool]] = {}
        self.gone: set[tuple[int, str]] = set()
        self.read: dict[str, int] = {}
        self.since: dict[str, int] = {}

    def counts(self, user: str) -> tuple[int, int]:
        floor = max(self.read.get(user, 0), self.since[user])
        news = [
            (mentions, to_all)
            for version, (sender, mentions, to_all) in self.said.items()
            if version > floor and sender != user and not {(version, ""), (version, user)} & self.gone
        ]
        return len(news), sum(1 for mentions, to_all in news if to_all or user in mentions)


@pytest.mark.parametrize("seed", range(3))
async def test_unread_is_exact_whatever_happens(world: ChatWorld, seed: int) -> None:
    chance = random.Random(seed)
    names = ["ada", "bob", "cy"]
    users = {user: world.user(user) for user in names}
    ada = users["ada"]
    where = (await ada.create_group("bob", "cy")).conversation_id
    model = Model()
    model.since = dict.fromkeys(names, 1)
    newest = 1

    async def member(rpc: str, user: str) -> int:
        request = getattr(pb, f"{rpc}Request")(request_id=request_id(), conversation_id=where, user_ids=[user])
        return int((await ada.call(rpc, request)).conversation.version)

    for _ in range(120):
        user = chance.choice(names)
        there = user in model.since
        match chance.choice(("say", "say", "say", "mark", "mark", "delete", "hide", "member")):
            case "say" if there:
                mentioned = frozenset(chance.sample(names, chance.randint(0, 2)))
                to_all = user == "ada" and chance.random() < 0.3
                mentions = chat_pb2.Mentions(user_ids=sorted(mentioned), all=to_all) if mentioned or to_all else None
                newest = await say(users[user], where, mentions=mentions)
                model.said[newest] = (user, mentioned, to_all)
            case "mark" if there:
                version = chance.choice((newest, chance.randint(1, newest), newest + 1000))
                answer = await mark(users[user], where, read=version)
                model.read[user] = max(model.read.get(user, 0), min(version, newest))
                assert answer.read_version == model.read[user]
            case "delete" | "hide" as way if model.said and there:
                version = chance.choice(sorted(model.said))
                own = user if way == "hide" else ""
                actor = users[user] if way == "hide" else ada
                request = pb.DeleteMessageRequest(
                    request_id=request_id(), conversation_id=where, message_version=version, for_me=way == "hide"
                )
                await actor.call("DeleteMessage", request)
                newest += way == "delete" and (version, "") not in model.gone
                model.gone.add((version, own))
            case "member" if user != "ada":
                newest = await member("RemoveMembers" if there else "AddMembers", user)
                if there:
                    del model.since[user]
                else:
                    model.since[user] = newest
        for each in model.since:
            answer = await unread(users[each], where)
            assert (answer.count, answer.mention_count) == model.counts(each), (each, newest)


async def test_cursors_only_rise_and_what_is_read_was_delivered(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    versions = [await say(ada, name) for _ in range(5)]
    assert (await unread(bob, name)).count == 5
    answer = await mark(bob, name, read=versions[1], delivered=versions[3])
    assert (answer.count, answer.read_version, answer.delivered_version) == (3, versions[1], versions[3])
    answer = await mark(bob, name, read=versions[0], delivered=1)
    assert (answer.count, answer.read_version, answer.delivered_version) == (3, versions[1], versions[3])
    answer = await mark(bob, name, read=2**64 - 1)
    assert (answer.count, answer.read_version, answer.delivered_version) == (0, versions[4], versions[4])
    receipts = (await ada.call("ListReceipts", pb.ListReceiptsRequest(conversation_id=name))).receipts
    assert [(each.user_id, each.read_version, each.delivered_version) for each in receipts] == [
        ("bob", versions[4], versions[4])
    ]
    assert receipts[0].read_time.seconds > 0
    assert (await unread(ada, name)).count == 0


async def test_what_is_unread_is_listed_over_all_conversations(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    made = [(await ada.create_group("bob")).conversation_id for _ in range(5)]
    for number, name in enumerate(made):
        for _ in range(number):
            await say(ada, name)
    found: dict[str, int] = {}
    page = pb.ListUnreadRequest(page_size=2)
    while True:
        answer = await bob.call("ListUnread", page)
        found |= {each.conversation_id: each.count for each in answer.unread}
        if not answer.next_page_token:
            break
        page.page_token = answer.next_page_token
    assert found == {name: number for number, name in enumerate(made) if number}


async def test_a_reader_begins_where_it_joins_and_overseers_have_no_place(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    request = pb.CreateConversationRequest(request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL, open=True)
    name = (await ada.call("CreateConversation", request)).conversation.conversation_id
    await say(ada, name)
    await bob.call("JoinConversation", pb.JoinConversationRequest(request_id=request_id(), conversation_id=name))
    assert (await unread(bob, name)).count == 0
    await say(ada, name, mentions=chat_pb2.Mentions(user_ids=["bob"]))
    answer = await unread(bob, name)
    assert (answer.count, answer.mention_count) == (1, 1)
    assert await refused(unread(world.user("chief", "admin"), name)) == NOT_A_MEMBER
    assert await refused(mark(world.user("chief", "admin"), name, read=1)) == NOT_A_MEMBER
    assert (await refused(unread(world.user("eve"), name)))[1] == "NOT_FOUND"


async def test_a_speaker_that_reads_on_begins_anew(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    request = pb.CreateConversationRequest(request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL, open=True)
    name = (await ada.call("CreateConversation", request)).conversation.conversation_id
    await bob.call("JoinConversation", pb.JoinConversationRequest(request_id=request_id(), conversation_id=name))
    change = {"request_id": request_id(), "conversation_id": name, "user_ids": ["bob"]}
    await ada.call("AddMembers", pb.AddMembersRequest(**change))
    await say(bob, name)
    await say(ada, name)
    assert (await unread(bob, name)).count == 1
    remove = pb.RemoveMembersRequest(**{**change, "request_id": request_id()})
    await ada.call("RemoveMembers", remove)
    assert (await unread(bob, name)).count == 0
    await say(ada, name)
    await ada.call("RemoveMembers", remove)  # repeated, it reads nothing more
    assert (await unread(bob, name)).count == 1
    await ada.call("AddMembers", pb.AddMembersRequest(**{**change, "request_id": request_id()}))
    await say(bob, name)
    assert (await unread(bob, name)).count == 0
    await say(ada, name)
    assert (await unread(bob, name)).count == 1


async def test_receipts_are_for_groups_of_a_stated_size(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group(*(f"user-{number}" for number in range(100)))).conversation_id
    assert (await refused(ada.call("ListReceipts", pb.ListReceiptsRequest(conversation_id=name))))[1] == "MEMBERS_LIMIT"


async def test_who_reads_on_while_it_is_counted_has_read_all_that_is_counted(world: ChatWorld) -> None:
    """Another process may move the cursor beyond what this one saw of the conversation a moment before."""
    ann, bob = world.user("ann"), world.user("bob")
    name = (await ann.create_group("bob")).conversation_id
    await say(ann, name)
    where = AggregateId(TENANT, KIND, name)
    before = (await world.ledger.read(where)).state
    newest = await say(ann, name, mentions=chat_pb2.Mentions(user_ids=["bob"]))
    await mark(bob, name, read=newest)
    found = await receipts.count(world.ledger, where, before, "bob")
    assert (found.count, found.mention_count, found.read_version) == (0, 0, newest)
    assert found.delivered_version == newest
