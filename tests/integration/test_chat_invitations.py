"""Invitations through gRPC, on a real log and store: who comes in by one, and who does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from tradewind.chat.v1 import chat_pb2, invitation_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import invitation_service_pb2 as pb

from services.chat import marks
from services.chat.invitations.tokens import digest_of
from services.ledger.ids import AggregateId
from tests.integration.chat_world import ChatWorld, User, chat_world, reason_of, refused, request_id
from tests.servers import NatsServer
from tests.tally import eventually

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
SECRET = b"0123456789abcdef"


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def call(user: User, method: str, request: Any) -> Any:
    stub = invitation_service_pb2_grpc.InvitationServiceStub(user.channel)
    return getattr(stub, method)(request, metadata=user.metadata)


async def invite(user: User, name: str, **fields: Any) -> pb.CreateInvitationResponse:
    fields.setdefault("request_id", request_id())
    request = pb.CreateInvitationRequest(conversation_id=name, secret=SECRET, **fields)
    made: pb.CreateInvitationResponse = await call(user, "CreateInvitation", request)
    return made


def joining(token: str, **fields: Any) -> pb.JoinByInvitationRequest:
    fields.setdefault("request_id", request_id())
    return pb.JoinByInvitationRequest(token=token, **fields)


async def join(user: User, token: str) -> chat_pb2.Conversation:
    joined: chat_pb2.Conversation = (await call(user, "JoinByInvitation", joining(token))).conversation
    return joined


async def listed(user: User, name: str) -> list[pb.Invitation]:
    return list((await call(user, "ListInvitations", pb.ListInvitationsRequest(conversation_id=name))).invitations)


async def test_one_joins_by_what_another_was_given(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    group = await ada.create_group(title="Lunch")
    made = await invite(ada, group.conversation_id, max_uses=2)
    seen = await call(bob, "GetInvitation", pb.GetInvitationRequest(token=made.token))
    assert (seen.title, seen.member_count, seen.role, seen.joined) == ("Lunch", 1, chat_pb2.MEMBER_ROLE_MEMBER, False)
    joined = await join(bob, made.token)
    assert [member.user_id for member in joined.members] == ["ada", "bob"]
    assert (await call(bob, "GetInvitation", pb.GetInvitationRequest(token=made.token))).joined
    await join(bob, made.token)  # who is in already uses nothing
    (standing,) = await listed(ada, group.conversation_id)
    assert (standing.uses, standing.max_uses, standing.state) == (1, 2, pb.INVITATION_STATE_LASTS)
    # Nothing of the token is kept: neither in the events nor in the rows.
    events = await world.ledger.history(_aggregate(group.conversation_id), limit=10)
    assert not [event for event in events if made.token.encode() in event.payload or SECRET in event.payload]


async def test_a_repeated_request_answers_the_same_token_and_counts_one_use(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    group = await ada.create_group()
    named = request_id()
    first, again = [await invite(ada, group.conversation_id, request_id=named) for _ in range(2)]
    assert (first.token, first.invitation) == (again.token, again.invitation)
    request = joining(first.token)
    once, twice = [(await call(bob, "JoinByInvitation", request)).conversation for _ in range(2)]
    assert once.version == twice.version
    assert [each.uses for each in await listed(ada, group.conversation_id)] == [1]


async def test_the_last_use_is_given_to_one(world: ChatWorld) -> None:
    ada = world.user("ada")
    group = await ada.create_group()
    made = await invite(ada, group.conversation_id, max_uses=3)
    people = [world.user(f"user-{number}") for number in range(8)]
    answers = await asyncio.gather(*(join(each, made.token) for each in people), return_exceptions=True)
    reasons = [reason_of(each) for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert reasons == ["INVITATION_USED_UP"] * 5
    now = (
        await ada.call("GetConversation", chat.GetConversationRequest(conversation_id=group.conversation_id))
    ).conversation
    assert len(now.members) == 4
    (standing,) = await listed(ada, group.conversation_id)
    assert (standing.uses, standing.state) == (3, pb.INVITATION_STATE_USED_UP)


async def test_why_one_cannot_come_in(world: ChatWorld) -> None:
    ada, bob, eve = world.user("ada"), world.user("bob"), world.user("eve")
    name = (await ada.create_group("eve")).conversation_id
    made = await invite(ada, name)
    ban = chat.BanMemberRequest(request_id=request_id(), conversation_id=name, user_id="eve")
    await ada.call("BanMember", ban)
    assert (await refused(join(eve, made.token)))[1] == "BANNED"
    assert (await refused(call(eve, "GetInvitation", pb.GetInvitationRequest(token=made.token))))[1] == "BANNED"
    revoke = pb.RevokeInvitationRequest(
        request_id=request_id(), conversation_id=name, invitation_id=made.invitation.invitation_id
    )
    assert (await call(ada, "RevokeInvitation", revoke)).invitation.state == pb.INVITATION_STATE_REVOKED
    assert await refused(join(bob, made.token)) == (PRECONDITION, "INVITATION_REVOKED")
    short = await invite(ada, name, expire_after=Duration(seconds=1))

    async def is_over() -> bool:
        return (await listed(ada, name))[-1].state == pb.INVITATION_STATE_EXPIRED

    await eventually(is_over)
    assert await refused(join(bob, short.token)) == (PRECONDITION, "INVITATION_EXPIRED")
    assert await refused(join(bob, "A" * 43)) == NOT_FOUND
    # Another tenant knows nothing of it, whatever it holds.
    last = await invite(ada, name)
    assert await refused(join(world.user("bob", tenant="other"), last.token)) == NOT_FOUND
    assert await refused(listed(bob, name)) == NOT_FOUND
    await join(bob, last.token)
    code, reason = await refused(listed(bob, name))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")


async def test_a_channels_reader_comes_by_an_invitation(world: ChatWorld) -> None:
    ada, bob, cy = world.user("ada"), world.user("bob"), world.user("cy")
    request = chat.CreateConversationRequest(
        request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL, title="News"
    )
    name = (await ada.call("CreateConversation", request)).conversation.conversation_id
    await ada.send(name, "before")
    made = await invite(ada, name, role=chat_pb2.MEMBER_ROLE_READER, max_uses=1)
    wanted = joining(made.token)
    for _ in range(2):
        joined = (await call(bob, "JoinByInvitation", wanted)).conversation
        assert [member.user_id for member in joined.members] == ["ada"]
    await join(bob, made.token)
    assert (await refused(join(cy, made.token)))[1] == "INVITATION_USED_UP"
    unread = await bob.call("GetUnread", chat.GetUnreadRequest(conversation_id=name))
    assert unread.unread.count == 0  # what was said before is not unread
    await ada.send(name, "after")
    assert (await bob.call("GetUnread", chat.GetUnreadRequest(conversation_id=name))).unread.count == 1
    # One who reads becomes one who speaks, by an invitation for members.
    speaks = await invite(ada, name)
    assert [member.user_id for member in (await join(bob, speaks.token)).members] == ["ada", "bob"]


async def test_it_goes_on_after_a_restart_and_in_another_process(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        made = await invite(ada, name, max_uses=1)
        row = await world.ledger.rows(marks.INVITATIONS, f"acme/{digest_of(made.token)[:2]}", limit=10)
        assert [each.value for each in row] == [name.encode()]
    async with chat_world(own_nats_server.url, tmp_path) as one, chat_world(own_nats_server.url, tmp_path) as other:
        tries = [join(one.user("bob"), made.token), join(other.user("cy"), made.token)]
        answers = await asyncio.gather(*tries, return_exceptions=True)
        reasons = [reason_of(each) for each in answers if isinstance(each, grpc.aio.AioRpcError)]
        assert reasons == ["INVITATION_USED_UP"]


def _aggregate(name: str) -> AggregateId:
    return AggregateId("acme", "conversation", name)
