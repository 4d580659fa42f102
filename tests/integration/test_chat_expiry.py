"""Messages that do not last, on a real log and store: gone at their moment, told of soon after, and unread no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, marks
from services.chat.expiry import arming
from services.chat.kinds import KINDS
from services.ledger.decider import Request
from services.ledger.ending import end
from services.ledger.ids import AggregateId
from services.ledger.verifying import Report, verify
from tests.integration.attachment_world import Sender, attachment_world
from tests.integration.chat_world import ChatWorld, User, chat_world, refused, request_id, watched
from tests.integration.inbox_world import Reader
from tests.servers import NatsServer
from tests.tally import eventually

NO_SUCH_MESSAGE = (grpc.StatusCode.FAILED_PRECONDITION, "NO_SUCH_MESSAGE")
LONG = 3600.0


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def aggregate_of(name: str) -> AggregateId:
    return AggregateId("acme", "conversation", name)


async def say(world: ChatWorld, name: str, user: str, seconds: float, root: int = 0) -> int:
    """Say something that lasts shorter than a client may ask for."""
    content = chat_pb2.MessageContent(text="hi", thread_root=root).SerializeToString()
    target = domain.Target(root, "ada") if root else None
    said = domain.Said(root, target, expire_after_us=int(seconds * 1e6))
    command = domain.SendMessage(commands.now_us(), user, content, said=said)
    receipt = await world.ledger.execute(aggregate_of(name), command, Request(request_id(), request_id().encode()))
    return receipt.first_version


async def listed(user: User, name: str) -> dict[int, chat_pb2.Message]:
    request = pb.ListMessagesRequest(conversation_id=name)
    return {each.version: each for each in (await user.call("ListMessages", request)).messages}


async def unread(user: User, name: str) -> int:
    return int((await user.call("GetUnread", pb.GetUnreadRequest(conversation_id=name))).unread.count)


async def told(world: ChatWorld, name: str) -> list[int]:
    """Give the messages of which it was told that they are no more."""
    page = await world.ledger.history(aggregate_of(name), limit=200)
    events = [chat_pb2.ConversationEvent.FromString(each.payload) for each in page]
    return [gone.message_version for event in events for gone in event.messages_expired.messages]


async def until_told(world: ChatWorld, name: str, *versions: int) -> None:
    async def is_told() -> bool:
        return sorted(await told(world, name)) == sorted(versions)

    await eventually(is_told)


async def test_it_is_gone_for_everybody(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    stays = await ada.send(name, "stays")
    stream = bob.watch(name)
    goes = await say(world, name, "ada", 1.0, root=stays)
    later = await say(world, name, "ada", LONG)
    await ada.call(
        "PinMessage", pb.PinMessageRequest(request_id=request_id(), conversation_id=name, message_version=later)
    )
    await until_told(world, name, goes)
    seen = await listed(bob, name)
    assert [seen[version].HasField("delete_time") for version in (stays, goes, later)] == [False, True, False]
    assert seen[goes].delete_time == seen[goes].expire_time
    assert not seen[goes].content.text
    assert (seen[stays].thread.reply_count, seen[later].pinned) == (0, True)
    assert await unread(bob, name) == 2
    events = await watched(stream, 6)
    said = next(event for event in events if event.version == goes)
    expired = next(event for event in events if event.HasField("messages_expired"))
    assert (said.version, said.message.text) == (goes, "hi")
    assert [each.message_version for each in expired.messages_expired.messages] == [goes]
    assert not expired.actor_id
    assert expired.event_time.ToNanoseconds() >= said.expire_time.ToNanoseconds()
    stream.cancel()


async def test_nobody_sees_it_from_its_moment_on_though_it_is_not_told_yet(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada, bob = world.user("ada"), world.user("bob")
        name = (await ada.create_group("bob")).conversation_id
        version = await say(world, name, "ada", 0.001)
        # It may be told of already; what is shown is the same from its moment on.
        until = time.time_ns() + 2_000_000
        await eventually(_later_than(until))
        assert (await listed(bob, name))[version].HasField("delete_time")
        about: dict[str, Any] = {"request_id": request_id(), "conversation_id": name, "message_version": version}
        edit = pb.EditMessageRequest(content=chat_pb2.MessageContent(text="again"), **about)
        react = pb.AddReactionRequest(emoji="👍", **about)
        forward = pb.ForwardMessageRequest(
            request_id=request_id(), conversation_id=name, from_conversation_id=name, message_version=version
        )
        edits = pb.ListMessageEditsRequest(conversation_id=name, message_version=version)
        for user, method, request in (
            (ada, "EditMessage", edit),
            (bob, "AddReaction", react),
            (bob, "ForwardMessage", forward),
            (bob, "ListMessageEdits", edits),
        ):
            assert await refused(user.call(method, request)) == NO_SUCH_MESSAGE, method


async def test_a_conversation_has_a_time_for_all_its_messages(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    before = await ada.send(name, "before")
    setting = pb.UpdateConversationRequest(request_id=request_id(), conversation_id=name, message_ttl_seconds=60)
    code, reason = await refused(bob.call("UpdateConversation", setting))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    assert (await ada.call("UpdateConversation", setting)).conversation.message_ttl_seconds == 60
    for bad in (1, 4, 31_622_401):
        wrong = pb.UpdateConversationRequest(request_id=request_id(), conversation_id=name, message_ttl_seconds=bad)
        assert (await refused(ada.call("UpdateConversation", wrong)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    command = domain.ChangeConversation(commands.now_us(), "ada", message_ttl_s=1)
    await world.ledger.execute(aggregate_of(name), command, Request(request_id(), b"ttl"))
    talk = ada.converse()
    sends = [ada.message(name, str(number)) for number in range(150)]
    await talk.write(*sends)
    await talk.until(lambda talk: len(talk.results) == len(sends))
    assert not any(result.HasField("error") for result in talk.results.values())
    versions = [result.version for result in talk.results.values()]
    await until_told(world, name, *versions)
    assert await unread(bob, name) == 1
    request = pb.ListMessagesRequest(conversation_id=name, oldest_first=True, page_size=500)
    seen = {each.version: each for each in (await bob.call("ListMessages", request)).messages}
    assert [version for version, each in seen.items() if not each.HasField("delete_time")] == [before]

    async def waits_for_no_more() -> bool:
        return bool((await world.ledger.read(aggregate_of(name))).state.expiring.next_us == 0)

    await eventually(waits_for_no_more)
    assert not await world.ledger.rows(marks.EXPIRING, marks.partition(aggregate_of(name)), limit=10)
    talk.call.cancel()


async def test_a_client_says_how_long_and_a_forward_lasts_as_long_anew(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    content = chat_pb2.MessageContent(text="short", expire_after=Duration(seconds=60))
    request = pb.SendMessageRequest(request_id=request_id(), conversation_id=name, content=content)
    first = (await ada.call("SendMessage", request)).version
    forward = pb.ForwardMessageRequest(
        request_id=request_id(), conversation_id=name, from_conversation_id=name, message_version=first
    )
    second = (await ada.call("ForwardMessage", forward)).version
    edit = pb.EditMessageRequest(
        request_id=request_id(),
        conversation_id=name,
        message_version=first,
        content=chat_pb2.MessageContent(text="new"),
    )
    await ada.call("EditMessage", edit)
    seen = await listed(ada, name)
    for version in (first, second):
        message = seen[version]
        assert message.expire_time.ToNanoseconds() - message.send_time.ToNanoseconds() == 60 * 10**9
        assert message.content.expire_after == Duration(seconds=60)
    assert seen[first].content.text == "new"
    short = chat_pb2.MessageContent(text="too short", expire_after=Duration(seconds=4))
    wrong = pb.SendMessageRequest(request_id=request_id(), conversation_id=name, content=short)
    assert (await refused(ada.call("SendMessage", wrong)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    edit.request_id = request_id()
    edit.content.expire_after.FromSeconds(60)
    assert (await refused(ada.call("EditMessage", edit)))[1] == "INVALID_FIELD"


async def test_what_a_dead_process_left_is_told_by_the_next(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        # One says that it lasts long, so that the timer set is late; then a process dies before it sets another.
        await say(world, name, "ada", LONG)
        for hear in list(world.ledger.engine.hearers._written):
            world.ledger.engine.hearers._written.remove(hear)
        goes = await say(world, name, "ada", 0.5)
    async with (
        chat_world(own_nats_server.url, tmp_path) as one,
        chat_world(own_nats_server.url, tmp_path) as other,
    ):
        await until_told(one, name, goes)
        assert await told(other, name) == [goes]


async def test_a_process_that_starts_finds_more_than_it_can_keep_in_mind(
    world: ChatWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.user("ada")
    names = [(await ada.create_group()).conversation_id for _ in range(6)]
    for name in names:
        await say(world, name, "ada", LONG)
    monkeypatch.setattr(arming, "_MOST_WANTED", 1)
    setting = arming.Arming(world.ledger)
    looking = asyncio.create_task(setting.catch_up())
    await eventually(lambda: _is_full(setting))
    doing = asyncio.create_task(setting.run())
    await looking
    await eventually(lambda: _is_set(setting, names))
    await end([doing])


async def _is_full(setting: arming.Arming) -> bool:
    return bool(setting._wanted)


async def _is_set(setting: arming.Arming, names: list[str]) -> bool:
    return {each.id for each in setting._set} == set(names)


async def test_deleted_messages_and_many_in_a_thread_are_counted_once(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    root = await ada.send(name, "root")
    versions = [await say(world, name, "ada", 1.0, root=root) for _ in range(5)]
    delete = pb.DeleteMessageRequest(request_id=request_id(), conversation_id=name, message_version=versions[0])
    await ada.call("DeleteMessage", delete)
    stays = await say(world, name, "ada", LONG, root=root)
    page = await world.ledger.history(aggregate_of(name), limit=50)
    was_deleted = any(chat_pb2.ConversationEvent.FromString(each.payload).HasField("deleted") for each in page)
    await until_told(world, name, *versions[1 if was_deleted else 0 :])
    seen = await listed(bob, name)
    assert seen[root].thread.reply_count == 1
    assert seen[root].thread.last_reply_version == stays
    assert await unread(bob, name) == 2
    rows = await world.ledger.rows(marks.EXPIRING, marks.partition(aggregate_of(name)), limit=10)
    assert [int(row.key[16:], 16) for row in rows] == [stays]
    assert await verify(world.ledger.engine.archive, KINDS, Report()) == []


def _later_than(nanoseconds: int) -> Any:
    async def check() -> bool:
        return time.time_ns() > nanoseconds

    return check


async def test_the_inbox_shows_and_counts_it_no_more(world: ChatWorld) -> None:
    ada, inbox = world.user("ada"), Reader(world.user("bob"))
    name = (await ada.create_group("bob")).conversation_id
    shown = inbox.watch()
    version = await say(world, name, "ada", 1.0)
    await shown.until(lambda shown: name in shown.entries and shown.entries[name].last_message.version == version)
    await until_told(world, name, version)
    await shown.until(lambda shown: shown.unread(name) == (0, 0))
    (entry,) = await inbox.list()
    assert (entry.last_message.deleted, entry.last_message.text, entry.unread_count) == (True, "", 0)
    shown.call.cancel()


async def test_what_it_carried_is_no_more_to_be_had(tmp_path: Path) -> None:
    async with attachment_world(tmp_path) as world:
        ada, bob = Sender(world, "ada"), Sender(world, "bob")
        name = (await ada.user.create_group("bob")).conversation_id
        held = (await ada.upload(name, b"for a moment")).attachment_id
        lasting = (await ada.upload(name, b"for ever")).attachment_id
        await ada.send(name, lasting)
        said = domain.Said(expire_after_us=1000, attachments=(held,))
        command = domain.SendMessage(commands.now_us(), "ada", b"\n\x02hi", said=said)
        await world.ledger.execute(aggregate_of(name), command, Request(request_id(), b"attached"))
        await eventually(_later_than(time.time_ns() + 2_000_000))
        assert await bob.download(lasting) == b"for ever"
        assert (await refused(bob.download(held)))[0] is grpc.StatusCode.NOT_FOUND
        assert await ada.download(held) == b"for a moment"  # it is hers
