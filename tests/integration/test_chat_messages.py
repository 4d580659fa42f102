"""What becomes of messages: threads, edits, deletions, forwards, pins, mentions, parts; through gRPC, on a real log and store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat.domain import recent
from tests.integration.chat_world import ChatWorld, User, chat_world, refused, request_id, watched
from tests.servers import NatsServer

NO_SUCH = (grpc.StatusCode.FAILED_PRECONDITION, "NO_SUCH_MESSAGE")
INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


async def say(user: User, name: str, text: str = "hi", **fields: Any) -> int:
    said = pb.SendMessageRequest(
        request_id=request_id(), conversation_id=name, content=chat_pb2.MessageContent(text=text, **fields)
    )
    return int((await user.call("SendMessage", said)).version)


async def do(user: User, rpc: str, name: str, version: int, **fields: Any) -> Any:
    request = getattr(pb, f"{rpc}Request")(conversation_id=name, message_version=version, **fields)
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        request.request_id = request_id()
    return await user.call(rpc, request)


async def listed(user: User, name: str, **fields: Any) -> list[chat_pb2.Message]:
    """All pages of a listing."""
    found: list[chat_pb2.Message] = []
    page = pb.ListMessagesRequest(conversation_id=name, oldest_first=True, **fields)
    while True:
        answer = await user.call("ListMessages", page)
        found += answer.messages
        if not answer.next_page_token:
            return found
        page.page_token = answer.next_page_token


@pytest.mark.parametrize("forgetful", [False, True])
async def test_threads_count_their_messages(world: ChatWorld, monkeypatch: pytest.MonkeyPatch, forgetful: bool) -> None:
    if forgetful:
        monkeypatch.setattr(recent, "_YOUNG", 1)  # then nearly every decision must be looked up
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    roots = [await say(ada, name), await say(bob, name)]
    replies = [await say(bob, name, str(number), thread_root=roots[number % 2]) for number in range(7)]
    stream = ada.watch(name, after=replies[0] - 1)
    assert [event.thread_reply_count for event in await watched(stream, 7)] == [1, 1, 2, 2, 3, 3, 4]
    stream.cancel()
    await do(bob, "DeleteMessage", name, replies[2])
    await do(bob, "DeleteMessage", name, replies[2])
    by_version = {message.version: message for message in await listed(ada, name)}
    threads = [by_version[root].thread for root in roots]
    assert [(each.reply_count, each.last_reply_version) for each in threads] == [(3, replies[6]), (3, replies[5])]
    assert by_version[replies[2]].HasField("delete_time")
    assert not by_version[replies[2]].content.text
    for size in (1, 2, 50):
        found = await listed(ada, name, thread_root=roots[0], page_size=size)
        assert [message.version for message in found] == replies[::2]
    newest = pb.ListMessagesRequest(conversation_id=name, thread_root=roots[0], page_size=2)
    assert [m.version for m in (await ada.call("ListMessages", newest)).messages] == [replies[6], replies[4]]
    assert await refused(say(ada, name, thread_root=replies[0])) == INVALID
    for wrong in (1, 10_000, 2**64 - 1):
        assert await refused(say(ada, name, thread_root=wrong)) == NO_SUCH
    talk = bob.converse()
    asked = [
        pb.SendMessageRequest(
            request_id=request_id(), conversation_id=name, content=chat_pb2.MessageContent(text="x", thread_root=root)
        )
        for root in (roots[0], replies[0])
    ]
    for each in asked:
        await talk.write(each)
    await talk.until(lambda it: len(it.results) == 2)
    assert [talk.results[each.request_id].version > 0 for each in asked] == [True, False]
    talk.call.cancel()
    assert (await listed(ada, name))[0].thread.reply_count == 4


async def test_a_message_is_edited_by_its_sender_and_its_wordings_are_kept(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    root = await say(bob, name, "root")
    version = await say(bob, name, "helo", thread_root=root, reply_to=[root])
    content = chat_pb2.MessageContent(text="hello", attributes={"a": "1"})
    request = pb.EditMessageRequest(
        request_id=request_id(), conversation_id=name, message_version=version, content=content
    )
    first = await bob.call("EditMessage", request)
    assert await bob.call("EditMessage", request) == first
    await do(bob, "EditMessage", name, version, content=chat_pb2.MessageContent(text="hello!"))
    assert (await refused(do(ada, "EditMessage", name, version, content=content)))[1] == "FORBIDDEN"
    assert (await refused(do(world.user("eve"), "EditMessage", name, version, content=content)))[1] == "NOT_FOUND"
    assert await refused(do(bob, "EditMessage", name, 1, content=content)) == NO_SUCH
    shown = (await listed(ada, name))[1]
    assert (shown.content.text, shown.edits, list(shown.content.reply_to), shown.content.thread_root) == (
        "hello!", 2, [root], root
    )  # fmt: skip
    assert shown.edit_time.ToNanoseconds() > shown.send_time.ToNanoseconds()
    wordings = (await do(ada, "ListMessageEdits", name, version)).wordings
    assert [wording.content.text for wording in wordings] == ["helo", "hello", "hello!"]
    await do(ada, "DeleteMessage", name, version)
    assert await refused(do(ada, "ListMessageEdits", name, version)) == NO_SUCH
    assert await refused(do(bob, "EditMessage", name, version, content=content)) == NO_SUCH


async def test_deleted_for_one_is_there_for_others(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    versions = [await say(ada, name, str(number)) for number in range(5)]
    for version in versions[1:3]:
        await do(bob, "DeleteMessage", name, version, for_me=True)
    assert [message.version for message in await listed(bob, name, page_size=2)] == [versions[0], *versions[3:]]
    assert [message.version for message in await listed(ada, name)] == versions
    assert (await refused(do(bob, "DeleteMessage", name, versions[0])))[1] == "FORBIDDEN"
    assert await refused(do(bob, "DeleteMessage", name, 1, for_me=True)) == NO_SUCH
    assert (await refused(do(world.user("eve"), "DeleteMessage", name, 2, for_me=True)))[1] == "NOT_FOUND"


async def test_forwarded_says_where_it_is_from(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    here = (await ada.create_group("bob")).conversation_id
    there = (await bob.create_group()).conversation_id
    version = await say(ada, here, "old", mentions=chat_pb2.Mentions(user_ids=["bob"]))
    await do(ada, "EditMessage", here, version, content=chat_pb2.MessageContent(text="new"))
    request = pb.ForwardMessageRequest(
        request_id=request_id(), conversation_id=there, from_conversation_id=here, message_version=version
    )
    first = await bob.call("ForwardMessage", request)
    await do(ada, "EditMessage", here, version, content=chat_pb2.MessageContent(text="newer"))
    assert await bob.call("ForwardMessage", request) == first
    (shown,) = await listed(bob, there)
    assert (shown.content.text, shown.sender_id, shown.content.HasField("mentions")) == ("new", "bob", False)
    origin = shown.content.forwarded
    assert (origin.conversation_id, origin.message_version, origin.sender_id) == (here, version, "ada")
    # Forwarded on, it still says where it was said first.
    other = (await bob.create_group()).conversation_id
    await do(bob, "ForwardMessage", other, first.version, from_conversation_id=there)
    assert (await listed(bob, other))[0].content.forwarded == origin
    assert (await refused(do(ada, "ForwardMessage", here, first.version, from_conversation_id=there)))[1] == "NOT_FOUND"
    assert (await refused(do(ada, "ForwardMessage", there, version, from_conversation_id=here)))[1] == "NOT_FOUND"
    assert await refused(say(ada, here, forwarded=chat_pb2.ForwardedFrom(sender_id="bob"))) == INVALID


async def test_pins_are_shown_and_listed_until_taken_off_or_deleted(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    versions = [await say(bob, name, str(number)) for number in range(4)]
    for version in (versions[2], versions[0], versions[3]):
        shown = (await do(ada, "PinMessage", name, version)).conversation
    assert list(shown.pinned_versions) == [versions[2], versions[0], versions[3]]
    for size in (1, 50):
        found = await listed(bob, name, pinned_only=True, page_size=size)
        assert [message.version for message in found] == [versions[0], *versions[2:]]
        assert all(message.pinned for message in found)
    await do(ada, "UnpinMessage", name, versions[2])
    await do(bob, "DeleteMessage", name, versions[3])
    assert [message.version for message in await listed(bob, name, pinned_only=True)] == [versions[0]]
    assert await refused(do(ada, "PinMessage", name, versions[3])) == NO_SUCH
    assert await refused(listed(bob, name, pinned_only=True, thread_root=versions[0])) == INVALID


async def test_parts_are_carried_and_checked(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    parts = [
        chat_pb2.Part(attachment=chat_pb2.Attachment(uri="a/b", media_type="image/png", sha256=b"x" * 32)),
        chat_pb2.Part(card=chat_pb2.Card(title="Lunch", fields=[chat_pb2.CardField(name="when", value="noon")])),
        chat_pb2.Part(order=chat_pb2.OrderCard(order_id="7")),
    ]
    await say(ada, name, "", parts=parts)
    assert list((await listed(ada, name))[0].content.parts) == parts
    for wrong in (
        chat_pb2.Part(),
        chat_pb2.Part(attachment=chat_pb2.Attachment(uri="a", sha256=b"x")),
        chat_pb2.Part(attachment=chat_pb2.Attachment(uri="a", media_type="png")),
    ):
        assert await refused(say(ada, name, parts=[wrong])) == INVALID
    assert await refused(say(ada, name, "")) == INVALID


@pytest.mark.parametrize("forgetful", [False, True])
async def test_reactions_are_counted_once_a_user(
    world: ChatWorld, monkeypatch: pytest.MonkeyPatch, forgetful: bool
) -> None:
    if forgetful:
        monkeypatch.setattr(recent, "_YOUNG", 1)
    ada = world.user("ada")
    people = [world.user(f"user-{number}") for number in range(8)]
    name = (await ada.create_group(*(user.id for user in people))).conversation_id
    version = await say(ada, name)

    async def react(user: User, emoji: str, rpc: str = "AddReaction") -> None:
        await do(user, rpc, name, version, emoji=emoji)

    await asyncio.gather(*(react(user, "👍") for user in people), *(react(user, "👍") for user in people))
    await asyncio.gather(*(react(user, ":lunch:") for user in people[:3]), react(people[0], "👍", "RemoveReaction"))
    await react(people[0], "👍", "RemoveReaction")
    shown = (await listed(people[1], name))[0].reactions
    assert {(each.emoji, each.count, each.mine) for each in shown} == {("👍", 7, True), (":lunch:", 3, True)}
    assert [each.mine for each in (await listed(people[0], name))[0].reactions if each.emoji == "👍"] == [False]
    page = pb.ListReactionsRequest(conversation_id=name, message_version=version, page_size=4)
    given: list[tuple[str, str]] = []
    while True:
        answer = await ada.call("ListReactions", page)
        given += [(each.emoji, each.user_id) for each in answer.reactions]
        if not answer.next_page_token:
            break
        page.page_token = answer.next_page_token
    assert given == [(":lunch:", user.id) for user in people[:3]] + [("👍", user.id) for user in people[1:]]
    for emoji in ("", "a b", "a/b", "x" * 33, "\u200b", "\n"):
        assert await refused(react(ada, emoji)) == INVALID, emoji
    for number in range(18):
        await react(ada, f":{number}:")
    assert (await refused(react(ada, ":more:")))[1] == "REACTIONS_LIMIT"
    await do(ada, "DeleteMessage", name, version)
    assert await refused(react(ada, "👍")) == NO_SUCH
    assert not (await listed(ada, name))[0].reactions


async def test_a_channels_reader_reacts_until_it_is_kept_out(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    request = pb.CreateConversationRequest(request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL, open=True)
    name = (await ada.call("CreateConversation", request)).conversation.conversation_id
    version = await say(ada, name)
    assert (await refused(do(bob, "AddReaction", name, version, emoji="👍")))[1] == "FORBIDDEN"
    await bob.call("JoinConversation", pb.JoinConversationRequest(request_id=request_id(), conversation_id=name))
    await do(bob, "AddReaction", name, version, emoji="👍")
    assert (await listed(bob, name))[0].reactions[0].mine
    ban = pb.BanMemberRequest(request_id=request_id(), conversation_id=name, user_id="bob")
    await ada.call("BanMember", ban)
    assert (await refused(do(bob, "AddReaction", name, version, emoji="🎉")))[1] == "FORBIDDEN"


async def test_history_begins_at_a_time(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    versions = [await say(ada, name, str(number)) for number in range(12)]
    sent = {message.version: message.send_time for message in await listed(ada, name)}
    for at in (0, 5, 11):
        moment = sent[versions[at]]
        assert [m.version for m in await listed(ada, name, from_time=moment, page_size=5)] == versions[at:]
        back = pb.ListMessagesRequest(conversation_id=name, from_time=moment)
        assert [m.version for m in (await ada.call("ListMessages", back)).messages] == versions[:at][::-1]
    later = Timestamp(seconds=sent[versions[-1]].seconds + 60)
    assert await listed(ada, name, from_time=later) == []
    assert len(await listed(ada, name, from_time=Timestamp(seconds=1))) == 12
    assert await refused(listed(ada, name, from_time=later, from_version=3)) == INVALID
