"""Every rpc of privacy by every wrong token, every role, from another tenant, and with what no honest client sends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from tradewind.chat.v1 import privacy_service_pb2 as pb

from services.chat.policy import POLICY
from tests.integration.chat_world import TENANT, ChatWorld, chat_world, request_id
from tests.integration.security_table import Answer, ask, bad_tokens, hostile, methods
from tests.servers import NatsServer

CODE = grpc.StatusCode
SERVICE = pb.DESCRIPTOR.services_by_name["PrivacyService"]
METHODS = {method.name: method for method in methods((SERVICE,))}


@pytest.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


async def requests(world: ChatWorld) -> Mapping[str, Message]:
    """A good request of each rpc."""
    group = (await world.user("ann").create_group()).conversation_id
    return {
        "ExportConversation": pb.ExportConversationRequest(conversation_id=group),
        "ExportPerson": pb.ExportPersonRequest(),
        "ErasePerson": pb.ErasePersonRequest(request_id=request_id(), user_id="nobody"),
    }


async def asked(world: ChatWorld, rpc: str, request: Message, role: str, **who: Any) -> Answer:
    user = world.user(who.get("user", "ann"), role, tenant=who.get("tenant", TENANT))
    return await ask(user.channel, METHODS[rpc], request, user.metadata[0][1].removeprefix("Bearer "))


async def test_a_token_that_is_not_good_opens_nothing(world: ChatWorld) -> None:
    good = await requests(world)
    assert METHODS.keys() == good.keys()
    ann = world.user("ann")
    for wrong, token in bad_tokens(world.signer, world.signer._key, TENANT).items():
        for rpc, request in good.items():
            answer = await ask(ann.channel, METHODS[rpc], request, token)
            assert (answer.code, answer.reason) == (CODE.UNAUTHENTICATED, "UNAUTHENTICATED"), (wrong, rpc)


async def test_each_role_opens_what_the_table_says(world: ChatWorld) -> None:
    good = await requests(world)
    for role in ("customer", "shop", "courier", "service", "admin", "operator", "root", ""):
        for rpc, request in good.items():
            if isinstance(request, pb.ErasePersonRequest):
                request.request_id = request_id()
            allowed = role in POLICY[f"/{SERVICE.full_name}/{rpc}"]
            answer = await asked(world, rpc, request, role)
            assert answer.code is (CODE.OK if allowed else CODE.PERMISSION_DENIED), (role, rpc, answer)


async def test_another_tenant_has_nothing_of_it(world: ChatWorld) -> None:
    good = await requests(world)
    there = await asked(world, "ExportConversation", good["ExportConversation"], "admin", tenant="other")
    assert (there.code, there.reason) == (CODE.NOT_FOUND, "NOT_FOUND")
    person = await asked(world, "ExportPerson", pb.ExportPersonRequest(user_id="ann"), "admin", tenant="other")
    assert b"membership" not in person.message.json_lines


async def test_nothing_hostile_is_a_defect(world: ChatWorld, capfd: pytest.CaptureFixture[str]) -> None:
    for rpc, good in (await requests(world)).items():
        for what, request in hostile(good):
            answer = await asked(world, rpc, request, "admin")
            expected = {CODE.OK, CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.ALREADY_EXISTS}
            assert answer.code in expected, (rpc, what, answer)
    assert "unexpected_error" not in capfd.readouterr().err
