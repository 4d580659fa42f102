"""Kinds, roles and order in conversations, through gRPC, on a real log and store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from tradewind.chat.v1 import chat_pb2, inbox_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import inbox_service_pb2 as inbox_pb

from services.chat.domain import TABLE, Kind, Permission, Role
from services.ledger.archive import Snapshot
from services.ledger.ids import AggregateId
from tests.integration.chat_world import (
    TENANT,
    ChatWorld,
    User,
    chat_world,
    facts_in,
    facts_of,
    refused,
    request_id,
    watched,
)
from tests.servers import NatsServer

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
ROLES = {role: chat_pb2.MemberRole.Value(f"MEMBER_ROLE_{role.name}") for role in Role}
KINDS = {kind: chat_pb2.ConversationKind.Value(f"CONVERSATION_KIND_{kind.name}") for kind in Kind}


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


async def do(user: User, rpc: str, name: str, **fields: Any) -> Any:
    """Call an rpc that has a request id and a conversation."""
    request = getattr(pb, f"{rpc}Request")(conversation_id=name, **fields)
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        request.request_id = request_id()
    return await user.call(rpc, request)


async def inbox(user: User, rpc: str, name: str) -> Any:
    """Set a flag of a user's own."""
    stub = inbox_service_pb2_grpc.InboxServiceStub(user.channel)
    request = getattr(inbox_pb, f"{rpc}Request")(request_id=request_id(), conversation_id=name)
    return await getattr(stub, rpc)(request, metadata=user.metadata)


def receipts(user: User, name: str) -> Any:
    """Watch how far members have got."""
    stub = inbox_service_pb2_grpc.InboxServiceStub(user.channel)
    return stub.WatchReceipts(inbox_pb.WatchReceiptsRequest(conversation_id=name), metadata=user.metadata)


async def create(user: User, kind: Kind, *member_ids: str, **fields: Any) -> str:
    request = pb.CreateConversationRequest(request_id=request_id(), kind=KINDS[kind], member_ids=member_ids, **fields)
    return str((await user.call("CreateConversation", request)).conversation.conversation_id)


def roles_of(conversation: chat_pb2.Conversation) -> dict[str, int]:
    return {member.user_id: member.role for member in conversation.members}


MESSAGE = 987_654_321  # stands for a message of the owner's

# Every rpc that needs a permission, with a request that a member who may can make.
CALLS: dict[str, tuple[Permission, dict[str, Any]]] = {
    "GetConversation": (Permission.READ, {}),
    "ListMessages": (Permission.READ, {}),
    "GetUnread": (Permission.READ, {}),
    "ListReceipts": (Permission.READ, {}),
    "MarkMessages": (Permission.READ, {"read_version": MESSAGE}),
    "SendMessage": (Permission.POST, {"content": chat_pb2.MessageContent(text="hi")}),
    "ListMessageEdits": (Permission.READ, {"message_version": MESSAGE}),
    "AddReaction": (Permission.REACT, {"message_version": MESSAGE, "emoji": "👍"}),
    "RemoveReaction": (Permission.REACT, {"message_version": MESSAGE, "emoji": "👍"}),
    "ListReactions": (Permission.READ, {"message_version": MESSAGE}),
    "PinMessage": (Permission.PIN, {"message_version": MESSAGE}),
    "UnpinMessage": (Permission.PIN, {"message_version": MESSAGE}),
    "DeleteMessage": (Permission.DELETE_ANY, {"message_version": MESSAGE}),
    "UpdateConversation": (Permission.CHANGE_PROFILE, {"title": "New"}),
    "AddMembers": (Permission.ADD_MEMBERS, {"user_ids": ["new"]}),
    "RemoveMembers": (Permission.REMOVE_MEMBERS, {"user_ids": ["low"]}),
    "SetMemberRole": (Permission.SET_ROLES, {"user_id": "low", "role": ROLES[Role.READER]}),
    "BanMember": (Permission.BAN_MEMBERS, {"user_id": "low"}),
    "UnbanMember": (Permission.BAN_MEMBERS, {"user_id": "low"}),
    "ListBans": (Permission.BAN_MEMBERS, {}),
    "MuteMember": (Permission.MUTE_MEMBERS, {"user_id": "low"}),
    "UnmuteMember": (Permission.MUTE_MEMBERS, {"user_id": "low"}),
    "LeaveConversation": (Permission.LEAVE, {}),
}


@pytest.mark.parametrize("kind", Kind)
async def test_every_rpc_by_every_role(world: ChatWorld, kind: Kind) -> None:
    owner = world.user("boss")
    people = {role: world.user(role.value) for role in Role}
    for rpc, (permission, fields) in CALLS.items():
        for role in TABLE[kind]:
            if kind is Kind.DIRECT:
                name, who = await create(owner, kind, f"low-{rpc}"), owner
            else:
                name = await create(
                    owner, kind, "low", *(each.value for each in Role if each is not Role.READER), open=True
                )
                for each in Role:
                    if each is not Role.READER:
                        await do(owner, "SetMemberRole", name, user_id=each.value, role=ROLES[each])
                await do(people[Role.READER], "JoinConversation", name)
                if kind is Kind.GROUP:
                    await do(owner, "SetMemberRole", name, user_id="reader", role=ROLES[Role.READER])
                who = people[role]
            allowed = permission in TABLE[kind][role]
            if kind is Kind.DIRECT and permission is Permission.DELETE_ANY:
                allowed, permission = True, Permission.DELETE_OWN  # the message is its own
            version = await owner.send(name, "something to act on")
            fields = {key: version if value == MESSAGE else value for key, value in fields.items()}
            try:
                await do(who, rpc, name, **fields)
            except grpc.aio.AioRpcError as error:
                reason, metadata = facts_of(error)
                if rpc == "SetMemberRole" and kind is Kind.CHANNEL and allowed:
                    assert reason == "INVALID_FIELD"
                    continue
                assert not allowed, (rpc, role, reason)
                if kind is Kind.DIRECT:
                    assert (reason, metadata["permission"]) == ("WRONG_CONVERSATION_KIND", permission.value)
                elif kind is Kind.CHANNEL and role is Role.READER:
                    # A reader is no member: of what members do it is told as anybody is.
                    assert reason in ("NOT_FOUND", "FORBIDDEN"), (rpc, role, reason)
                else:
                    assert (reason, metadata["permission"]) == ("FORBIDDEN", permission.value), (rpc, role)
            else:
                assert allowed, (rpc, role)


async def test_a_channel_has_readers_beside_its_members(world: ChatWorld) -> None:
    ada, bob, eve = world.user("ada"), world.user("bob"), world.user("eve")
    name = await create(ada, Kind.CHANNEL, title="News", open=True)
    hidden = await create(ada, Kind.CHANNEL, title="Hidden")
    assert (await do(bob, "GetConversation", name)).conversation.title == "News"
    assert await refused(do(bob, "ListMessages", name)) == NOT_FOUND
    assert await refused(do(bob, "JoinConversation", hidden)) == NOT_FOUND
    version = (await do(ada, "SendMessage", name, content=chat_pb2.MessageContent(text="first"))).version
    for _ in range(2):
        joined = (await do(bob, "JoinConversation", name)).conversation
        assert roles_of(joined) == {"ada": ROLES[Role.OWNER]}
    assert [message.version for message in (await do(bob, "ListMessages", name)).messages] == [version]
    assert await refused(do(bob, "SendMessage", name, content=chat_pb2.MessageContent(text="me too"))) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "FORBIDDEN",
    )
    listed = (await bob.call("ListConversations", pb.ListConversationsRequest())).conversations
    assert [each.conversation_id for each in listed] == [name]
    stream = bob.watch(name)
    assert len(await watched(stream, 2)) == 2
    stream.cancel()
    # Who is let in to speak is listed once, and stays a reader when it is removed.
    await do(ada, "AddMembers", name, user_ids=["bob"])
    listed = (await bob.call("ListConversations", pb.ListConversationsRequest())).conversations
    assert [each.conversation_id for each in listed] == [name]
    await do(ada, "RemoveMembers", name, user_ids=["bob"])
    assert (await do(bob, "ListMessages", name)).messages
    leave = pb.LeaveConversationRequest(request_id=request_id(), conversation_id=name)
    for _ in range(2):
        await bob.call("LeaveConversation", leave)
    assert await refused(do(bob, "ListMessages", name)) == NOT_FOUND
    assert await refused(do(eve, "LeaveConversation", name)) == NOT_FOUND
    assert not (await bob.call("ListConversations", pb.ListConversationsRequest())).conversations


@pytest.mark.parametrize("way", ["Watch", "Converse"])
async def test_a_banned_reader_is_cut_off(world: ChatWorld, way: str) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = await create(ada, Kind.CHANNEL, open=True)
    await do(bob, "JoinConversation", name)
    if way == "Watch":
        stream = bob.watch(name)
        assert len(await watched(stream, 1)) == 1
    else:
        talk = bob.converse()
        await talk.write(subscribe={name: 0})
        await talk.until(lambda it: it.versions(name) == [1])
    await do(ada, "BanMember", name, user_id="bob", duration=Duration(seconds=3600))
    await do(ada, "SendMessage", name, content=chat_pb2.MessageContent(text="not for bob"))
    if way == "Watch":
        assert [event.WhichOneof("event") for event in await watched(stream, 1)] == ["banned"]
        assert await refused(stream.read()) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")
    else:
        await talk.until(lambda it: name in it.ended)
        assert (talk.versions(name), talk.ended[name]) == ([1, 2], "NOT_A_MEMBER")
        talk.call.cancel()
    assert await refused(do(bob, "ListMessages", name)) == NOT_FOUND
    assert (await refused(do(bob, "JoinConversation", name)))[1] == "BANNED"
    assert not (await bob.call("ListConversations", pb.ListConversationsRequest())).conversations
    bans = (await do(ada, "ListBans", name)).bans
    assert [(ban.user_id, ban.HasField("until")) for ban in bans] == [("bob", True)]
    await do(ada, "UnbanMember", name, user_id="bob")
    assert (await do(bob, "ListMessages", name)).messages


async def test_a_reader_who_leaves_is_cut_off_in_every_process(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Its own entry tells of it, and no event of the channel: nothing more is said there."""
    async with (
        chat_world(own_nats_server.url, tmp_path) as here,
        chat_world(own_nats_server.url, tmp_path, signer=here.signer) as there,
    ):
        ada, bob = here.user("ada"), here.user("bob")
        name = await create(ada, Kind.CHANNEL, open=True)
        await do(bob, "JoinConversation", name)
        ears = [world.user("bob") for world in (here, there)]
        watches, talks = [ear.watch(name) for ear in ears], [ear.converse() for ear in ears]
        for watch, talk in zip(watches, talks, strict=True):
            assert len(await watched(watch, 1)) == 1
            await talk.write(subscribe={name: 0})
            await talk.until(lambda it: it.versions(name) == [1])
        await inbox(bob, "ArchiveConversation", name)  # another change of its place, and no leaving
        await do(ada, "SendMessage", name, content=chat_pb2.MessageContent(text="for bob too"))
        for watch, talk in zip(watches, talks, strict=True):
            assert len(await watched(watch, 1)) == 1
            await talk.until(lambda it: it.versions(name) == [1, 2])
        marks = [receipts(ear, name) for ear in ears]
        for mark in marks:
            assert (await mark.read()).whole
        await do(bob, "LeaveConversation", name)
        for mark in marks:
            assert await refused(mark.read()) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")
        for watch, talk in zip(watches, talks, strict=True):
            assert await refused(watch.read()) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")
            await talk.until(lambda it: name in it.ended)
            assert (talk.versions(name), talk.ended[name]) == ([1, 2], "NOT_A_MEMBER")
        await do(bob, "JoinConversation", name)
        await talks[1].write(subscribe={name: 2})
        await do(ada, "SendMessage", name, content=chat_pb2.MessageContent(text="again"))
        await talks[1].until(lambda it: it.versions(name) == [1, 2, 3])
        for talk in talks:
            talk.call.cancel()


async def test_a_banned_member_is_removed_and_kept_out(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = await create(ada, Kind.GROUP, "bob", open=True)
    stream = bob.watch(name)
    assert len(await watched(stream, 1)) == 1
    request = pb.BanMemberRequest(request_id=request_id(), conversation_id=name, user_id="bob")
    first = await ada.call("BanMember", request)
    assert await ada.call("BanMember", request) == first
    assert [event.WhichOneof("event") for event in await watched(stream, 1)] == ["members_removed"]
    assert await refused(stream.read()) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")
    assert (await refused(do(bob, "JoinConversation", name)))[1] == "BANNED"
    assert (await refused(do(ada, "AddMembers", name, user_ids=["bob"])))[1] == "BANNED"
    await do(ada, "UnbanMember", name, user_id="bob")
    assert roles_of((await do(bob, "JoinConversation", name)).conversation)["bob"] == ROLES[Role.MEMBER]


async def test_a_muted_member_is_silent_until_the_mute_ends(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = await create(ada, Kind.GROUP, "bob")
    shown = (await do(ada, "MuteMember", name, user_id="bob", duration=Duration(seconds=3600))).conversation
    assert [(member.user_id, member.muted) for member in shown.members] == [("ada", False), ("bob", True)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bob.send(name, "let me")
    reason, metadata = facts_of(caught.value)
    assert (reason, metadata["permission"], "until" in metadata) == ("MUTED", "post", True)
    await do(ada, "UnmuteMember", name, user_id="bob")
    await bob.send(name, "thanks")


async def test_slow_mode_tells_when_to_come_back(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = await create(ada, Kind.GROUP, "bob", slow_mode_seconds=3600)
    await bob.send(name, "one")
    assert await refused(bob.send(name, "two")) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_MODE")
    await ada.send(name, "owners are not slowed")
    await ada.send(name, "not at all")
    await do(ada, "UpdateConversation", name, slow_mode_seconds=0)
    await bob.send(name, "two")


async def test_what_a_conversation_is_called_changes_for_all(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = await create(ada, Kind.GROUP, "bob", attributes={"a": "1", "b": "2"})
    changed = await do(
        ada, "UpdateConversation", name, title="Crew", picture="p.png", attributes={"a": "3"}, remove_attributes=["b"]
    )
    shown = (await do(bob, "GetConversation", name)).conversation
    assert shown == changed.conversation
    assert (shown.title, shown.picture, dict(shown.attributes)) == ("Crew", "p.png", {"a": "3"})
    stream = bob.watch(name, after=1)
    (event,) = await watched(stream, 1)
    assert (event.changed.title, list(event.changed.removed_attributes)) == ("Crew", ["b"])
    stream.cancel()


async def test_a_snapshot_of_an_earlier_release_is_passed_over(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = await create(ada, Kind.GROUP, "bob")
        for number in range(3):
            await ada.send(name, str(number))
        key = AggregateId(TENANT, "conversation", name).key
        head = await world.archive.head(key)
        assert head is not None
        old = b'{"version":4,"updated_us":1,"profile":{"kind":"group","title":"","attributes":{},"created_us":1,"members":{},"silent":[]}}'
        await world.archive.put_snapshot(key, Snapshot(head.version, head.seq, old))
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        assert roles_of((await do(ada, "GetConversation", name)).conversation) == {"ada": 1, "bob": 2}
        version = await ada.send(name, "3")
        (event,) = await watched(ada.watch(name, after=version - 1), 1)
        assert event.message_count == 4


async def test_a_reader_of_a_closed_channel_is_told_what_it_lacks_and_a_stranger_nothing(world: ChatWorld) -> None:
    ada, bob, eve = world.user("ada"), world.user("bob"), world.user("eve")
    made = pb.CreateConversationRequest(request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL, open=True)
    name = (await ada.call("CreateConversation", made)).conversation.conversation_id
    await bob.call("JoinConversation", pb.JoinConversationRequest(request_id=request_id(), conversation_id=name))
    closed = pb.UpdateConversationRequest(request_id=request_id(), conversation_id=name, open=False)
    await ada.call("UpdateConversation", closed)
    for user, wanted in ((bob, ("FORBIDDEN", "post")), (eve, ("NOT_FOUND", None))):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await user.send(name, "may I?")
        reason, metadata = facts_of(error.value)
        assert (reason, metadata.get("permission")) == wanted
        talk, said = user.converse(), [user.message(name, f"may I, {number}?") for number in range(3)]
        await talk.write(*said)
        await talk.until(lambda talk: len(talk.results) == 3)
        for result in talk.results.values():
            reason, metadata = facts_in(result.error)
            assert (reason, metadata.get("permission")) == wanted
        await talk.call.done_writing()
        await talk.until(lambda talk: talk.over)
