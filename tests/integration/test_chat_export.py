"""An export is all there is, once and in order, goes on where it was cut, and is for those it is meant for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from tradewind.chat.v1 import (
    chat_pb2,
    moderation_pb2,
    moderation_service_pb2,
    moderation_service_pb2_grpc,
    privacy_service_pb2_grpc,
)
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import privacy_service_pb2 as privacy

from tests.integration.chat_world import ChatWorld, User, chat_world, refused, request_id, watched
from tests.integration.test_chat_erasure import keep
from tests.integration.test_chat_privacy import read, talk, word
from tests.servers import NatsServer


async def chunks(user: User, request: Any) -> AsyncIterator[Any]:
    """The chunks of an export."""
    stub = privacy_service_pb2_grpc.PrivacyServiceStub(user.channel)
    rpc = stub.ExportConversation if isinstance(request, privacy.ExportConversationRequest) else stub.ExportPerson
    async for chunk in rpc(request, metadata=user.metadata):
        yield chunk


async def exported(user: User, request: Any) -> list[privacy.ExportLine]:
    """The lines of a whole export."""
    data = b"".join([chunk.json_lines async for chunk in chunks(user, request)])
    return lines_of(data)


def lines_of(data: bytes) -> list[privacy.ExportLine]:
    """Lines as the contract has them."""
    assert data.endswith(b"\n")
    return [json_format.Parse(line, privacy.ExportLine()) for line in data.splitlines()]


async def whole(user: User, group: str) -> list[privacy.ExportLine]:
    """A conversation's export."""
    return await exported(user, privacy.ExportConversationRequest(conversation_id=group))


def replayed(events: list[chat_pb2.ConversationEvent]) -> dict[int, dict[str, Any]]:
    """What a reader makes of exported events: messages as they stand after all of them."""
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        which = event.WhichOneof("event")
        if which == "message":
            found[event.version] = {"sender": event.actor_id, "content": event.message, "edits": 0, "reactions": {}}
            if event.message.thread_root:
                found[event.message.thread_root]["replies"] = event.thread_reply_count
        elif which == "edited":
            changed = found[event.edited.message_version]
            changed["content"], changed["edits"] = event.edited.content, event.edited.edits
        elif which == "deleted":
            found[event.deleted.message_version]["content"] = chat_pb2.MessageContent()
            found[event.deleted.message_version]["reactions"] = {}
        elif which in ("reaction_added", "reaction_removed"):
            told = getattr(event, which)
            found[told.message_version]["reactions"][told.emoji] = told.count
        elif which in ("pinned", "unpinned"):
            found[getattr(event, which).message_version]["pinned"] = which == "pinned"
    return found


async def lively(world: ChatWorld) -> tuple[User, User, str]:
    """A group in which everything happened."""
    ann, bob = world.user("ann"), world.user("bob")
    group, versions = await talk(ann, bob, [word() for _ in range(7)])
    for emoji in ("👍", "🎉"):
        reaction = pb.AddReactionRequest(
            request_id=request_id(), conversation_id=group, message_version=versions[0], emoji=emoji
        )
        await bob.call("AddReaction", reaction)
    await ann.call(
        "PinMessage", pb.PinMessageRequest(request_id=request_id(), conversation_id=group, message_version=versions[1])
    )
    await ann.call(
        "DeleteMessage",
        pb.DeleteMessageRequest(request_id=request_id(), conversation_id=group, message_version=versions[2]),
    )
    answer = bob.message(group, "in a thread")
    answer.content.thread_root = versions[0]
    await bob.call("SendMessage", answer)
    return ann, bob, group


async def test_a_conversation_is_given_out_whole(own_nats_server: NatsServer, tmp_path: Any) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, bob, group = await lively(world)
        header, *lines, end = await whole(ann, group)
        assert (header.header.format, header.header.conversation.conversation_id) == (1, group)
        newest = header.header.conversation.version
        assert {line.event.conversation_id for line in lines} == {group}
        events = [line.event.event for line in lines]
        assert events == await watched(bob.watch(group), newest)
        assert (end.end.events, end.end.version) == (newest, newest)
        found, listed = replayed(events), await read(bob, group)
        assert set(found) == set(listed)
        for version, message in listed.items():
            told = found[version]
            assert (told["sender"], told["content"], told["edits"]) == (
                message.sender_id,
                message.content,
                message.edits,
            )
            assert told["reactions"] == {each.emoji: each.count for each in message.reactions}
            assert told.get("pinned", False) == message.pinned
            assert told.get("replies", 0) == message.thread.reply_count


async def test_an_export_goes_on_where_it_was_cut(own_nats_server: NatsServer, tmp_path: Any) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann = world.user("ann")
        group = (await ann.create_group(title="long")).conversation_id
        for number in range(40):
            await ann.send(group, f"{number} " + "x" * 16_000)
        for request in (
            privacy.ExportConversationRequest(conversation_id=group),
            privacy.ExportPersonRequest(),
        ):
            at_once = [chunk async for chunk in chunks(ann, request)]
            assert len(at_once) > 2
            assert not at_once[-1].resume_token
            parts = [at_once[0].json_lines]
            token = at_once[0].resume_token
            await ann.send(group, "said meanwhile, and in no export that was begun before")
            while token:
                request.resume_token = token
                async for chunk in chunks(ann, request):
                    parts.append(chunk.json_lines)
                    token = chunk.resume_token
                    break
            assert b"".join(parts) == b"".join(chunk.json_lines for chunk in at_once)


async def test_who_may_export_a_conversation(own_nats_server: NatsServer, tmp_path: Any) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann = world.user("ann")
        group = (await ann.create_group("bob")).conversation_id
        await ann.send(group, "hello")
        for user in (ann, world.user("root", "admin"), world.user("backend", "service")):
            assert len(await whole(user, group)) == 4
        assert await refused(whole(world.user("bob"), group)) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
        for user in (world.user("cy"), world.user("root", "admin", tenant="other")):
            assert await refused(whole(user, group)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        for token in ("x", "AAAA"):
            asked = privacy.ExportConversationRequest(conversation_id=group, resume_token=token)
            assert (await refused(exported(ann, asked)))[1] == "INVALID_PAGE_TOKEN"


async def test_a_person_is_given_all_it_did(own_nats_server: NatsServer, tmp_path: Any) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, bob, group = await lively(world)
        left = (await bob.create_group("ann", title="left behind")).conversation_id
        await ann.send(left, "before I go")
        await ann.call("LeaveConversation", pb.LeaveConversationRequest(request_id=request_id(), conversation_id=left))
        await bob.send(left, "after she went")
        await ann.call("MarkMessages", pb.MarkMessagesRequest(conversation_id=group, read_version=2))
        header, *lines, end = await exported(ann, privacy.ExportPersonRequest())
        assert header.header.user_id == "ann"
        memberships = {
            line.membership.conversation_id: line.membership for line in lines if line.HasField("membership")
        }
        assert memberships[group].read_version == 2
        assert memberships[group].member.role == chat_pb2.MEMBER_ROLE_OWNER
        assert not memberships[left].HasField("member")
        assert not memberships[left].title
        did = [line.event for line in lines if line.HasField("event")]
        assert end.end.events == len(did)
        assert {event.event.actor_id for event in did} == {"ann"}
        everything = [event for event in await watched(bob.watch(group), 12) if event.actor_id == "ann"]
        assert [each.event for each in did if each.conversation_id == group] == everything
        assert "before I go" in {each.event.message.text for each in did if each.conversation_id == left}
        assert await exported(world.user("root", "admin"), privacy.ExportPersonRequest(user_id="ann"))
        assert (await refused(exported(bob, privacy.ExportPersonRequest(user_id="ann"))))[1] == "FORBIDDEN"


async def test_the_erased_are_exported_as_erased(own_nats_server: NatsServer, tmp_path: Any) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, admin = world.user("ann"), world.user("root", "admin")
        group = (await ann.create_group()).conversation_id
        version = await ann.send(group, "hello")
        stub = privacy_service_pb2_grpc.PrivacyServiceStub(admin.channel)
        await stub.ErasePerson(
            privacy.ErasePersonRequest(request_id=request_id(), user_id="ann"), metadata=admin.metadata
        )
        lines = await whole(ann, group)
        assert lines[version].event.event.message == chat_pb2.MessageContent(erased=True)


@pytest.mark.parametrize("text", ["line\nbreak", '\u2028 \x01 \\ "', "語 🎉"])
async def test_a_line_is_a_line(own_nats_server: NatsServer, tmp_path: Any, text: str) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann = world.user("ann")
        group = (await ann.create_group()).conversation_id
        version = await ann.send(group, text)
        request = privacy.ExportConversationRequest(conversation_id=group)
        data = b"".join([chunk.json_lines async for chunk in chunks(ann, request)])
        raw = data.split(b"\n")
        assert json.loads(raw[version])["event"]["event"]["message"]["text"] == text
        assert raw.pop() == b""
        assert len(raw) == version + 2


async def test_what_is_kept_of_a_person_elsewhere_is_given_too(own_nats_server: NatsServer, tmp_path: Any) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, bob = world.user("ann"), world.user("bob")
        group = (await ann.create_group("bob")).conversation_id
        version = await bob.send(group, "rude")
        await keep(world, group, "for later", "notes.txt", "hush", "a file")
        report = moderation_service_pb2.ReportMessageRequest(
            request_id=request_id(), conversation_id=group, message_version=version, text="that is rude",
            reason=moderation_pb2.REPORT_REASON_HARASSMENT,
        )  # fmt: skip
        await moderation_service_pb2_grpc.ModerationServiceStub(ann.channel).ReportMessage(
            report, metadata=ann.metadata
        )
        _, *lines, _ = await exported(ann, privacy.ExportPersonRequest())
        items = {line.item.kind: json_format.MessageToDict(line.item.value) for line in lines if line.HasField("item")}
        assert set(items) == {"scheduled_message", "attachment", "device", "report"}
        assert items["scheduled_message"]["content"] == {"text": "for later"}
        assert (items["attachment"]["name"], items["attachment"]["state"]) == ("notes.txt", "complete")
        assert items["device"]["device_id"] == "phone"
        assert "hush" not in str(items)
        assert items["report"]["conversation_id"] == group
        assert items["report"]["reported"]["content"] == {"text": "that is rude"}
