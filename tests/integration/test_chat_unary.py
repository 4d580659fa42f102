"""Chat's unary rpcs, through gRPC, on a real log and store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.integration.chat_world import ChatWorld, chat_world, refused, request_id
from tests.servers import NatsServer

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def direct(other: str) -> pb.CreateConversationRequest:
    return pb.CreateConversationRequest(
        request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_DIRECT, member_ids=[other]
    )


async def test_two_people_have_one_direct_conversation(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    first = (await ada.call("CreateConversation", direct("bob"))).conversation
    again = (await bob.call("CreateConversation", direct("ada"))).conversation
    assert again == first
    assert {member.user_id for member in first.members} == {"ada", "bob"}
    assert await refused(ada.call("CreateConversation", direct("ada"))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    )


async def test_a_group_is_made_once_however_often_it_is_asked_for(world: ChatWorld) -> None:
    ada = world.user("ada")
    request = pb.CreateConversationRequest(
        request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP, member_ids=["bob", "ada"], title="Crew"
    )
    first = (await ada.call("CreateConversation", request)).conversation
    await ada.send(first.conversation_id, "hello")
    assert (await ada.call("CreateConversation", request)).conversation == first
    assert [(m.user_id, m.role) for m in first.members] == [
        ("ada", chat_pb2.MEMBER_ROLE_OWNER),
        ("bob", chat_pb2.MEMBER_ROLE_MEMBER),
    ]
    request.title = "Other"
    assert await refused(ada.call("CreateConversation", request)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )


async def test_a_request_id_must_be_of_version_7(world: ChatWorld) -> None:
    ada = world.user("ada")
    request = pb.CreateConversationRequest(
        request_id="5f6b1c1e-8c0a-4b7e-9a53-0d6f3a3b6d11", kind=chat_pb2.CONVERSATION_KIND_GROUP
    )
    assert (await refused(ada.call("CreateConversation", request)))[1] == "INVALID_FIELD"
    group = await ada.create_group()
    said = ada.message(group.conversation_id, "x")
    said.request_id = request.request_id
    assert (await refused(ada.call("SendMessage", said)))[1] == "INVALID_FIELD"


async def test_a_stranger_is_told_nothing(world: ChatWorld) -> None:
    ada, eve = world.user("ada"), world.user("eve")
    abroad = world.user("ada", tenant="umbrella")
    chief, robot = world.user("chief", "admin"), world.user("mailer", "service")
    name = (await ada.create_group("bob")).conversation_id
    for stranger in (eve, abroad):
        for call in (
            stranger.call("GetConversation", pb.GetConversationRequest(conversation_id=name)),
            stranger.call("ListMessages", pb.ListMessagesRequest(conversation_id=name)),
            stranger.call("SendMessage", stranger.message(name, "hi")),
            stranger.call(
                "AddMembers", pb.AddMembersRequest(request_id=request_id(), conversation_id=name, user_ids=["eve"])
            ),
            stranger.call(
                "RemoveMembers",
                pb.RemoveMembersRequest(request_id=request_id(), conversation_id=name, user_ids=["bob"]),
            ),
            stranger.watch(name).read(),
        ):
            assert await refused(call) == NOT_FOUND
    for overseer in (chief, robot):
        shown = await overseer.call("GetConversation", pb.GetConversationRequest(conversation_id=name))
        assert shown.conversation.conversation_id == name
        assert await refused(overseer.call("SendMessage", overseer.message(name, "hi"))) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "NOT_A_MEMBER",
        )


async def test_a_service_speaks_for_a_member_and_is_named(world: ChatWorld) -> None:
    ada, robot = world.user("ada"), world.user("mailer", "service")
    acting = world.user("mailer", "service", on_behalf_of="ada")
    name = (await ada.create_group()).conversation_id
    await robot.call("SendMessage", robot.message(name, "by mail", sender_id="ada"))
    await acting.send(name, "by token")
    assert await refused(ada.call("SendMessage", ada.message(name, "x", sender_id="bob"))) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "FORBIDDEN",
    )
    stream = ada.watch(name, after=1)
    frame = await stream.read()
    assert [(event.actor_id, event.acting_service) for event in frame.events] == [("ada", "mailer")] * 2
    stream.cancel()


async def test_a_send_is_said_once_and_answered_the_same(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    said = ada.message(name, "once")
    first = await ada.call("SendMessage", said)
    assert first.version == 2
    assert await ada.call("SendMessage", said) == first
    said.content.text = "twice"
    assert (await refused(ada.call("SendMessage", said)))[1] == "REQUEST_ID_REUSED"


async def test_answers_are_to_messages_only(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    version = await ada.send(name, "first")
    for wrong in (1, version + 5):
        answer = ada.message(name, "re")
        answer.content.reply_to.append(wrong)
        assert await refused(ada.call("SendMessage", answer)) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "NO_SUCH_MESSAGE",
        )
    answer = ada.message(name, "re")
    answer.content.reply_to.append(version)
    assert (await ada.call("SendMessage", answer)).version == version + 1
    assert (await refused(ada.call("SendMessage", ada.message(name, ""))))[1] == "INVALID_FIELD"


async def test_members_come_and_go(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id

    def add(*user_ids: str) -> pb.AddMembersRequest:
        return pb.AddMembersRequest(request_id=request_id(), conversation_id=name, user_ids=user_ids)

    def remove(*user_ids: str) -> pb.RemoveMembersRequest:
        return pb.RemoveMembersRequest(request_id=request_id(), conversation_id=name, user_ids=user_ids)

    assert (await refused(bob.call("AddMembers", add("cy"))))[1] == "FORBIDDEN"
    with_cy = add("cy", "bob")
    grown = (await ada.call("AddMembers", with_cy)).conversation
    assert [member.user_id for member in grown.members] == ["ada", "bob", "cy"]
    assert (await refused(ada.call("RemoveMembers", remove("ada"))))[1] == "LAST_OWNER"
    leave = remove("bob")
    left = (await bob.call("RemoveMembers", leave)).conversation
    assert [member.user_id for member in left.members] == ["ada", "cy"]
    assert (await bob.call("RemoveMembers", leave)).conversation == left
    assert (await ada.call("AddMembers", with_cy)).conversation == grown
    assert await refused(bob.call("SendMessage", bob.message(name, "still here?"))) == NOT_FOUND


async def test_a_users_conversations_are_listed_newest_first_and_at_once(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    made = [(await ada.create_group("bob", title=str(number))).conversation_id for number in range(7)]
    await bob.call(
        "RemoveMembers",
        pb.RemoveMembersRequest(request_id=request_id(), conversation_id=made[3], user_ids=["bob"]),
    )
    await ada.create_group("cy")
    listed: list[str] = []
    page = pb.ListConversationsRequest(page_size=2)
    while True:
        answer = await bob.call("ListConversations", page)
        listed += [conversation.conversation_id for conversation in answer.conversations]
        if not answer.next_page_token:
            break
        page.page_token = answer.next_page_token
    assert listed == [name for name in reversed(made) if name != made[3]]
    assert (await refused(ada.call("ListConversations", page)))[1] == "INVALID_PAGE_TOKEN"
    assert (await refused(ada.call("ListConversations", pb.ListConversationsRequest(user_id="bob"))))[1] == "FORBIDDEN"
    robot = world.user("mailer", "service")
    theirs = await robot.call("ListConversations", pb.ListConversationsRequest(user_id="bob"))
    assert [conversation.conversation_id for conversation in theirs.conversations] == listed


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_messages_are_paged_both_ways(world: ChatWorld, oldest_first: bool) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    for number in range(5):
        await ada.send(name, f"before {number}")
    for number in range(9):
        await ada.call(
            "AddMembers",
            pb.AddMembersRequest(request_id=request_id(), conversation_id=name, user_ids=[f"user-{number}"]),
        )
    for number in range(5):
        await ada.send(name, f"after {number}")
    expected = [*range(2, 7), *range(16, 21)]
    if not oldest_first:
        expected.reverse()
    for size in (1, 3, 50):
        page = pb.ListMessagesRequest(conversation_id=name, page_size=size, oldest_first=oldest_first)
        seen: list[int] = []
        while True:
            answer = await ada.call("ListMessages", page)
            assert len(answer.messages) <= size
            seen += [message.version for message in answer.messages]
            if not answer.next_page_token:
                break
            page.page_token = answer.next_page_token
        assert seen == expected
    wrong = pb.ListMessagesRequest(
        conversation_id=name, page_token=page.page_token or "AAAA", oldest_first=not oldest_first
    )
    assert (await refused(ada.call("ListMessages", wrong)))[1] == "INVALID_PAGE_TOKEN"
    started = pb.ListMessagesRequest(conversation_id=name, oldest_first=oldest_first, from_version=6)
    versions = [message.version for message in (await ada.call("ListMessages", started)).messages]
    assert versions == ([16, 17, 18, 19, 20] if oldest_first else [5, 4, 3, 2])
    started.from_version = 2**64 - 1
    assert len((await ada.call("ListMessages", started)).messages) == (0 if oldest_first else 10)


async def test_a_start_on_the_same_folder_goes_on(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group("bob")).conversation_id
        said = ada.message(name, "before")
        first = await ada.call("SendMessage", said)
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        assert await ada.call("SendMessage", said) == first
        assert await ada.send(name, "after") == first.version + 1
