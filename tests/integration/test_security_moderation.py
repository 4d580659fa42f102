"""Every rpc of moderation and bots, called by everybody who should not, and with whatever is hostile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.message import Message
from tradewind.chat.v1 import bot_service_pb2 as bots
from tradewind.chat.v1 import moderation_pb2
from tradewind.chat.v1 import moderation_service_pb2 as moderation

from services.chat.policy import POLICY
from services.runtime.policy import ROLES
from tests.integration.chat_world import TENANT, ChatWorld, chat_world, request_id
from tests.integration.order_world import new_channel
from tests.integration.security_table import Answer, ask, bad_tokens, hostile, methods
from tests.integration.test_security_calls import ABSENT, CODE, HARMLESS
from tests.servers import NatsServer

SERVICES = (
    moderation.DESCRIPTOR.services_by_name["ModerationService"],
    bots.DESCRIPTOR.services_by_name["BotService"],
)
BY_ID = ("ReportMessage", "ResolveReport", "PressAction")


def requests(name: str) -> Mapping[str, Message]:
    """A good request for each rpc."""
    about: dict[str, Any] = {"request_id": request_id(), "conversation_id": name, "message_version": 2}
    dismissed = moderation_pb2.REPORT_RESOLUTION_DISMISSED
    return {
        "ReportMessage": moderation.ReportMessageRequest(**about, reason=moderation_pb2.REPORT_REASON_SPAM),
        "ListReports": moderation.ListReportsRequest(),
        "ResolveReport": moderation.ResolveReportRequest(**about, resolution=dismissed),
        "WatchReports": moderation.WatchReportsRequest(),
        "BanUser": moderation.BanUserRequest(request_id=request_id(), user_id="eve"),
        "UnbanUser": moderation.UnbanUserRequest(request_id=request_id(), user_id="eve"),
        "ListBannedUsers": moderation.ListBannedUsersRequest(),
        "PressAction": bots.PressActionRequest(**about, action_id="yes"),
        "WatchActions": bots.WatchActionsRequest(),
        "AnswerAction": bots.AnswerActionRequest(request_id=request_id(), press_version=1),
    }


@dataclass
class Target:
    """The service that is attacked, and a conversation in it in which something was said and reported."""

    world: ChatWorld
    channel: Any
    known: str

    async def ask(self, name: str, request: Message | bytes, *roles: str, tenant: str = TENANT) -> Answer:
        (method,) = (each for each in methods(SERVICES) if each.name == name)
        return await ask(self.channel, method, request, self.world.signer.mint("mal", tenant, roles))


@pytest_asyncio.fixture
async def target(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Target]:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group("bob")).conversation_id
        await ada.send(name, "rude")
        channel = new_channel(world.server.port)
        made = Target(world, channel, name)
        bob = world.signer.mint("bob", TENANT, ["customer"])
        (report,) = (each for each in methods(SERVICES) if each.name == "ReportMessage")
        assert (await ask(channel, report, requests(name)["ReportMessage"], bob)).code is CODE.OK
        yield made
        await channel.close()


async def test_a_token_that_is_not_good_opens_nothing(target: Target) -> None:
    found = requests(target.known)
    for wrong, token in bad_tokens(target.world.signer, target.world.signer._key, TENANT).items():
        for method in methods(SERVICES):
            answer = await ask(target.channel, method, found[method.name], token)
            assert (answer.code, answer.reason) == (CODE.UNAUTHENTICATED, "UNAUTHENTICATED"), (wrong, method.name)


async def test_each_role_opens_what_the_table_says(target: Target) -> None:
    for role in [*sorted(ROLES), "root", ""]:
        for method in methods(SERVICES):
            if method.server_streaming and role in {"admin", "service"}:
                continue  # let in, and then silent
            allowed = role in POLICY[f"/{method.containing_service.full_name}/{method.name}"]
            answer = await target.ask(method.name, requests(ABSENT)[method.name], role)
            turned_away = answer.status.message == "the caller's roles do not allow this call"
            assert turned_away is not allowed, (role, method.name, answer)
            assert answer.code in HARMLESS, (role, method.name, answer)


async def test_what_another_tenant_has_is_as_what_does_not_exist(target: Target) -> None:
    theirs, none = requests(target.known), requests(ABSENT)
    for role in ("customer", "service", "admin"):
        for name in BY_ID:
            foreign = await target.ask(name, theirs[name], role, tenant="other")
            absent = await target.ask(name, none[name], role, tenant="other")
            if absent.code is not CODE.PERMISSION_DENIED:
                assert (absent.code, absent.reason) == (CODE.NOT_FOUND, "NOT_FOUND"), (role, name, absent)
            same = foreign.status.SerializeToString().replace(target.known.encode(), ABSENT.encode())
            assert same == absent.status.SerializeToString(), (role, name)
    for name in ("ListReports", "ListBannedUsers"):
        answer = await target.ask(name, theirs[name], "admin", tenant="other")
        assert answer.code is CODE.OK
        assert not answer.message.ListFields()


async def test_nothing_hostile_is_a_defect(target: Target, capfd: pytest.CaptureFixture[str]) -> None:
    for method in methods(SERVICES):
        if method.server_streaming:
            continue  # one field, and it is a number or none
        for what, request in hostile(requests(target.known)[method.name]):
            answer = await target.ask(method.name, request, "service")
            assert answer.code in HARMLESS, (method.name, what, answer)
    for version in (1 << 63, (1 << 64) - 1):
        answer = await target.ask("WatchActions", bots.WatchActionsRequest(after_version=version), "service")
        assert (answer.code, answer.reason) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "unexpected_error" not in capfd.readouterr().err
