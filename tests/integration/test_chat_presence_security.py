"""Every rpc of presence and typing: which tokens open it, and what nasty requests do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from tradewind.chat.v1 import presence_service_pb2 as pb

from services.chat.policy import POLICY
from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.integration.order_world import new_channel
from tests.integration.presence_world import BEAT, ONLINE
from tests.integration.security_table import Answer, ask, bad_tokens, hostile
from tests.servers import NatsServer

SERVICE = pb.DESCRIPTOR.services_by_name["PresenceService"]
HARMLESS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
}

Asking = Callable[[str, Message | bytes, str | None], Awaitable[Answer]]


def requests(conversation_id: str) -> Mapping[str, Message]:
    return {
        "ReportPresence": pb.ReportPresenceRequest(device_id="phone", state=ONLINE, lease_seconds=60),
        "GetPresence": pb.GetPresenceRequest(user_ids=["ann"]),
        "WatchPresence": pb.WatchPresenceRequest(add_user_ids=["ann"], remove_user_ids=["bob"]),
        "WatchPresenceOf": pb.WatchPresenceOfRequest(user_ids=["ann"]),
        "SetTyping": pb.SetTypingRequest(conversation_id=conversation_id),
        "WatchTyping": pb.WatchTypingRequest(conversation_ids=[conversation_id]),
    }


async def test_who_may_what_and_nothing_hostile_is_a_defect(
    own_nats_server: NatsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with chat_world(own_nats_server.url, tmp_path, presence_beat=BEAT) as world:
        group = (await world.user("ann").create_group("bob")).conversation_id
        channel = new_channel(world.server.port)

        async def answer(name: str, request: Message | bytes, token: str | None) -> Answer:
            return await ask(channel, SERVICE.methods_by_name[name], request, token)

        assert {method.name for method in SERVICE.methods} == set(requests(""))
        for wrong, token in bad_tokens(world.signer, world.signer._key, TENANT).items():
            for name, request in requests(group).items():
                assert (await answer(name, request, token)).reason == "UNAUTHENTICATED", (wrong, name)
        await _roles(world, answer, group)
        await _others(world, answer, group)
        ann = world.signer.mint("ann", TENANT, ["customer"])
        for name, request in requests(group).items():
            for what, nasty in hostile(request):
                found = await answer(name, nasty, ann)
                assert found.code in HARMLESS, (name, what, found)
            for data in (b"\x0a\x02\xff\xfe", b"\x0a\x7f", b"\x0b" * 1000, b"\xff" * 64):
                assert (await answer(name, data, ann)).code is grpc.StatusCode.INVALID_ARGUMENT, (name, data[:8])
        await channel.close()
    assert "unexpected_error" not in capfd.readouterr().err


async def _roles(world: ChatWorld, answer: Asking, group: str) -> None:
    """Each role opens what the table says."""
    for role in ("customer", "shop", "courier", "service", "admin", "operator", "root", ""):
        token = world.signer.mint("ann", TENANT, [role] if role else [])
        for name, request in requests(group).items():
            found = await answer(name, request, token)
            allowed = role in POLICY[f"/{SERVICE.full_name}/{name}"]
            assert (found.code is grpc.StatusCode.OK) is allowed, (role, name, found)


async def _others(world: ChatWorld, answer: Asking, group: str) -> None:
    """What another tenant has is as what does not exist."""
    token = world.signer.mint("ann", "other", ["admin"])
    for name in ("SetTyping", "WatchTyping"):
        foreign = await answer(name, requests(group)[name], token)
        absent = await answer(name, requests("absent")[name], token)
        assert foreign.code is grpc.StatusCode.NOT_FOUND
        assert foreign.status == absent.status
    found = await answer("GetPresence", requests("")["GetPresence"], token)
    assert list(found.message.presences) == [pb.Presence(user_id="ann", state=pb.PRESENCE_STATE_OFFLINE)]
