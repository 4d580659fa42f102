"""What was done has its first answer when it is asked again, also by one who has lost access since; what was not done is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat

from tests.integration.chat_requests import Names, requests
from tests.integration.chat_world import chat_world, key_file, request_id
from tests.integration.permission_world import Stage
from tests.servers import NatsServer

READERS = (
    "BotService/PressAction",
    "ChatService/AddReaction",
    "ChatService/DeleteMessage",
    "ChatService/ForwardMessage",
    "InboxService/ArchiveConversation",
    "InboxService/HideConversation",
    "InboxService/MuteNotifications",
    "AttachmentService/CreateUpload",
    "ModerationService/ReportMessage",
)
"""Rpcs of one who reads; each of them writes."""
MEMBERS = (
    *READERS,
    "ChatService/EditMessage",
    "ChatService/PinMessage",
    "ChatService/SendMessage",
    "ChatService/UpdateConversation",
    "InvitationService/CreateInvitation",
    "InvitationService/RevokeInvitation",
    "ScheduleService/ScheduleMessage",
)


@pytest_asyncio.fixture
async def stage(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Stage]:
    async with chat_world(own_nats_server.url, tmp_path, attachment_key_file=key_file(tmp_path)) as world:
        staged = Stage(world)
        yield staged
        await staged.close()


def about(names: Names, rpc: str, **fields: Any) -> Message:
    return getattr(chat, f"{rpc}Request")(request_id=request_id(), conversation_id=names.conversation, **fields)  # type: ignore[no-any-return]


async def shut_out(stage: Stage, names: Names, who: str) -> None:
    """Nobody new comes in, and one is banned."""
    await stage.answer("ChatService/UpdateConversation", about(names, "UpdateConversation", open=False), "founder")
    await stage.answer("ChatService/BanMember", about(names, "BanMember", user_id=who), "founder")


async def all_again(stage: Stage, who: str, done: dict[str, tuple[Message, Any]]) -> None:
    for rpc, (request, first) in done.items():
        again = await stage.answer(rpc, request, who)
        if rpc.startswith("InboxService/"):  # its own flags are all that it may know of the conversation
            assert again.entry.ListFields() == [(again.entry.DESCRIPTOR.fields[0], first.entry.conversation_id)], rpc
        else:
            assert again == first, rpc


async def test_whoever_lost_access_has_the_first_answer_again(stage: Stage) -> None:
    await stage.make("group", "open channel")
    elsewhere = stage.places["group"].names
    for kind, who, rpcs in (("group", "admin", MEMBERS), ("open channel", "reader", READERS)):
        place = stage.places[kind]
        asked: dict[str, Any] = {rpc: requests(place.names)[rpc] for rpc in rpcs}  # each with an id of its own
        if who == "admin":
            asked["ChatService/EditMessage"].message_version = place.own[who]
        else:
            setting = about(elsewhere, "SetMemberRole", user_id=who, role=chat_pb2.MEMBER_ROLE_MEMBER)
            await stage.answer("ChatService/SetMemberRole", setting, "founder")
            asked["ChatService/ForwardMessage"].conversation_id = elsewhere.conversation
        done = {rpc: (asked[rpc], await stage.answer(rpc, asked[rpc], who)) for rpc in rpcs}
        await shut_out(stage, place.names, who)
        await all_again(stage, who, done)
        for rpc in rpcs:
            # Who reported a message has reported it, as often as it says so.
            expected = "yes" if rpc == "ModerationService/ReportMessage" else "NOT_FOUND"
            assert await stage.outcome(rpc, requests(place.names)[rpc], who) == expected, rpc


async def test_who_left_as_a_reader_and_speaks_since_does_not_leave_again(stage: Stage) -> None:
    await stage.make("open channel")
    names = stage.places["open channel"].names
    leaving = about(names, "LeaveConversation")
    await stage.answer("ChatService/LeaveConversation", leaving, "reader")
    await stage.answer("ChatService/AddMembers", about(names, "AddMembers", user_ids=["reader"]), "founder")
    for _ in range(2):
        await stage.answer("ChatService/LeaveConversation", leaving, "reader")
        asked = chat.GetConversationRequest(conversation_id=names.conversation)
        shown = await stage.answer("ChatService/GetConversation", asked, "reader")
        assert "reader" in [member.user_id for member in shown.conversation.members]
    await stage.answer("ChatService/LeaveConversation", about(names, "LeaveConversation"), "reader")
    assert (
        await stage.outcome("ChatService/ListMessages", requests(names)["ChatService/ListMessages"], "reader")
        == "NOT_FOUND"
    )


async def test_whoever_came_in_and_was_kept_out_since_came_in(stage: Stage) -> None:
    await stage.make("group", "open channel", "channel")
    done: dict[str, dict[str, tuple[Message, Any]]] = {}
    for kind, rpc in (
        ("group", "InvitationService/JoinByInvitation"),
        ("channel", "InvitationService/JoinByInvitation"),
        ("open channel", "ChatService/JoinConversation"),
    ):
        names = stage.places[kind].names
        request = requests(names)[rpc]
        done[kind] = {rpc: (request, await stage.answer(rpc, request, "stranger"))}
        await shut_out(stage, names, "stranger")
        await all_again(stage, "stranger", done[kind])
        fresh = requests(names)[rpc]
        assert await stage.outcome(rpc, fresh, "stranger") in ("BANNED", "NOT_FOUND"), kind
