"""Every rpc of the inbox by every wrong token, every role, from another tenant, and with what no honest client sends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat.policy import POLICY
from tests.integration.chat_world import TENANT, ChatWorld, chat_world, request_id
from tests.integration.inbox_world import FAST
from tests.integration.security_table import Answer, ask, bad_tokens, hostile, methods
from tests.servers import NatsServer

CODE = grpc.StatusCode
SERVICE = pb.DESCRIPTOR.services_by_name["InboxService"]
METHODS = {method.name: method for method in methods((SERVICE,))}
LISTS = {"WatchInbox", "ListInbox", "GetUnreadTotals"}
ABSENT = "01900000-0000-7000-8000-000000000000"
HARMLESS = {
    CODE.OK, CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.PERMISSION_DENIED, CODE.FAILED_PRECONDITION,
    CODE.ALREADY_EXISTS, CODE.RESOURCE_EXHAUSTED,
}  # fmt: skip


def requests(name: str) -> Mapping[str, Message]:
    """A good request for each rpc, about a conversation where it is about one."""
    found: dict[str, Message] = {
        "WatchInbox": pb.WatchInboxRequest(),
        "ListInbox": pb.ListInboxRequest(),
        "GetUnreadTotals": pb.GetUnreadTotalsRequest(),
        "WatchReceipts": pb.WatchReceiptsRequest(conversation_id=name),
    }
    for rpc in METHODS.keys() - found.keys():
        found[rpc] = getattr(pb, f"{rpc}Request")(request_id=request_id(), conversation_id=name)
    found["MuteNotifications"].duration.seconds = 5  # type: ignore[attr-defined]
    return found


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path, **FAST) as running:
        yield running


async def asked(world: ChatWorld, rpc: str, request: Message, role: str = "customer", **who: Any) -> Answer:
    user = world.user(who.get("user", "ada"), role, tenant=who.get("tenant", TENANT))
    token = user.metadata[0][1].removeprefix("Bearer ")
    return await ask(user.channel, METHODS[rpc], request, token)


async def test_a_token_that_is_not_good_opens_nothing(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group("bob")).conversation_id
    for wrong, token in bad_tokens(world.signer, world.signer._key, TENANT).items():
        for rpc, request in requests(name).items():
            answer = await ask(ada.channel, METHODS[rpc], request, token)
            assert (answer.code, answer.reason) == (CODE.UNAUTHENTICATED, "UNAUTHENTICATED"), (wrong, rpc)


async def test_each_role_opens_what_the_table_says(world: ChatWorld) -> None:
    for role in ("customer", "shop", "courier", "service", "admin", "operator", "root", ""):
        for rpc, request in requests(ABSENT).items():
            answer = await asked(world, rpc, request, role, user="nobody")
            allowed = role in POLICY[f"/{SERVICE.full_name}/{rpc}"]
            expected = (CODE.OK if rpc in LISTS else CODE.NOT_FOUND) if allowed else CODE.PERMISSION_DENIED
            assert answer.code is expected, (role, rpc, answer)


async def test_what_is_not_theirs_is_as_what_does_not_exist(world: ChatWorld) -> None:
    name = (await world.user("ada").create_group("bob")).conversation_id
    await world.user("ada").send(name, "a secret")
    for user, tenant in (("eve", TENANT), ("bob", "other"), ("ada", "other")):
        for (rpc, known), absent in zip(requests(name).items(), requests(ABSENT).values(), strict=True):
            answer = await asked(world, rpc, known, user=user, tenant=tenant)
            if rpc in LISTS:
                assert answer.code is CODE.OK
                assert b"secret" not in answer.message.SerializeToString()
                assert not getattr(answer.message, "entries", ())
                continue
            none = await asked(world, rpc, absent, user=user, tenant=tenant)
            assert (answer.code, answer.reason) == (CODE.NOT_FOUND, "NOT_FOUND"), (rpc, user)
            same = answer.status.SerializeToString().replace(name.encode(), ABSENT.encode())
            assert same == none.status.SerializeToString(), (rpc, user)


async def test_nothing_hostile_is_a_defect(world: ChatWorld, capfd: pytest.CaptureFixture[str]) -> None:
    name = (await world.user("ada").create_group("bob")).conversation_id
    ada = world.user("ada", "service")
    token = ada.metadata[0][1].removeprefix("Bearer ")
    for rpc, good in requests(name).items():
        for what, request in hostile(good):
            answer = await ask(ada.channel, METHODS[rpc], request, token)
            assert answer.code in HARMLESS, (rpc, what, answer)
    assert "unexpected_error" not in capfd.readouterr().err
