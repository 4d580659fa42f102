"""Typing over two Chat services on one NATS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import presence_service_pb2 as pb

from services.chat.presence.typists import MOST_MEMBERS
from tests.integration.chat_world import reason_in, refused, request_id
from tests.integration.presence_world import Person, services
from tests.servers import NatsServer


async def frame(call: Any, seconds: float = 60.0) -> pb.WatchTypingResponse:
    async with asyncio.timeout(seconds):
        found = await call.read()
    assert isinstance(found, pb.WatchTypingResponse), "the stream ended"
    return found


def typing(found: pb.WatchTypingResponse) -> dict[str, list[str]]:
    return {each.conversation_id: list(each.user_ids) for each in found.typing}


async def listening(person: Person, *conversation_ids: str) -> Any:
    """Watch, and wait until the stream listens."""
    call = person.watch_typing(*conversation_ids)
    assert typing(await frame(call)) == {name: [] for name in conversation_ids}
    return call


async def test_typing_is_told_and_stopped(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path, typing_lasts=30) as (here, there):
        ada, bob, cy = Person(here, "ada"), Person(there, "bob"), Person(there, "cy")
        one, other = [(await ada.user.create_group("bob", "cy")).conversation_id for _ in range(2)]
        watching = await listening(bob, one, other)
        await ada.types(one)
        assert typing(await frame(watching)) == {one: ["ada"]}
        await cy.types(one)
        assert typing(await frame(watching)) == {one: ["ada", "cy"]}
        await bob.types(one)  # who watches is not told of itself
        await ada.types(one, stopped=True)
        assert typing(await frame(watching)) == {one: ["cy"]}
        await ada.types(other)
        assert typing(await frame(watching)) == {other: ["ada"]}


async def test_who_was_killed_while_it_typed_fades(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path, 1, typing_lasts=1) as (here,):
        ada, bob = Person(here, "ada"), Person(here, "bob")
        group = (await ada.user.create_group("bob")).conversation_id
        watching = await listening(bob, group)
        reading = asyncio.create_task(frame(watching))
        while not reading.done():
            await ada.types(group)
            await asyncio.wait([reading], timeout=0.3)
        assert typing(reading.result()) == {group: ["ada"]}
        assert typing(await frame(watching)) == {group: []}


async def test_a_removed_member_hears_no_more(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path) as (here, there):
        ada, bob = Person(here, "ada"), Person(there, "bob")
        one, other = [(await ada.user.create_group("bob")).conversation_id for _ in range(2)]
        watching = await listening(bob, one, other)
        await ada.types(one)
        assert typing(await frame(watching)) == {one: ["ada"]}
        gone = chat.RemoveMembersRequest(request_id=request_id(), conversation_id=one, user_ids=["bob"])
        await ada.user.call("RemoveMembers", gone)
        await ada.types(one, stopped=True)
        told = await frame(watching)
        assert not told.typing
        assert [(each.conversation_id, reason_in(each.error)) for each in told.ended] == [(one, "NOT_A_MEMBER")]
        assert await refused(bob.types(one)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        await ada.types(other)
        assert typing(await frame(watching)) == {other: ["ada"]}
        gone = chat.RemoveMembersRequest(request_id=request_id(), conversation_id=other, user_ids=["bob"])
        await ada.user.call("RemoveMembers", gone)
        await ada.types(other, stopped=True)
        assert (await frame(watching)).ended
        assert await watching.read() is grpc.aio.EOF


async def test_only_who_may_post_types_and_only_who_may_read_watches(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with services(own_nats_server.url, tmp_path, 1, typing_watched=2) as (here,):
        ada, bob = Person(here, "ada"), Person(here, "bob")
        group = (await ada.user.create_group("bob")).conversation_id
        stranger, elsewhere = Person(here, "eve"), Person(here, "ada", tenant="other")
        for person in (stranger, elsewhere):
            assert (await refused(person.types(group)))[1] == "NOT_FOUND"
            assert (await refused(person.watch_typing(group).read()))[1] == "NOT_FOUND"
        first = await listening(bob, group)
        answer = await refused(ada.watch_typing(group, "another").read())
        assert answer == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        first.cancel()
        mute = chat.MuteMemberRequest(request_id=request_id(), conversation_id=group, user_id="bob")
        await ada.user.call("MuteMember", mute)
        assert await refused(bob.types(group)) == (grpc.StatusCode.PERMISSION_DENIED, "MUTED")
        many = [f"user-{number}" for number in range(MOST_MEMBERS)]
        large = (await ada.user.create_group(*many)).conversation_id
        assert await refused(ada.types(large)) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBERS_LIMIT")
        made = await ada.user.call(
            "CreateConversation",
            chat.CreateConversationRequest(request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL),
        )
        answer = await refused(ada.types(made.conversation.conversation_id))
        assert answer == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_CONVERSATION_KIND")
