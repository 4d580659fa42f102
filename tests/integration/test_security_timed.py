"""Every rpc of invitations and scheduled messages, called by everybody who should not, and with whatever is hostile."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import invitation_service_pb2 as invitations
from tradewind.chat.v1 import schedule_service_pb2 as schedules

from services.chat.policy import POLICY
from services.runtime.policy import ROLES
from tests.integration.chat_world import TENANT, ChatWorld, chat_world, request_id
from tests.integration.order_world import new_channel
from tests.integration.security_table import Answer, ask, bad_tokens, hostile, methods
from tests.integration.test_security_calls import ABSENT, CODE, HARMLESS
from tests.servers import NatsServer

SERVICES = (
    invitations.DESCRIPTOR.services_by_name["InvitationService"],
    schedules.DESCRIPTOR.services_by_name["ScheduleService"],
)
BY_ID = ("CreateInvitation", "ListInvitations", "RevokeInvitation", "ScheduleMessage")
SECRET = bytes(range(16))
NO_TOKEN = "A" * 43


@dataclass(frozen=True)
class Names:
    """What requests name."""

    conversation: str
    invitation: str = "none"
    token: str = NO_TOKEN
    scheduled: str = "none"


def requests(names: Names) -> Mapping[str, Message]:
    """A good request for each rpc."""
    about: dict[str, Any] = {"request_id": request_id(), "conversation_id": names.conversation}
    scheduled: dict[str, Any] = {"request_id": request_id(), "scheduled_id": names.scheduled}
    content = chat_pb2.MessageContent(text="hi")
    at = Timestamp(seconds=int(time.time()) + 3600)
    return {
        "CreateInvitation": invitations.CreateInvitationRequest(**about, secret=SECRET),
        "ListInvitations": invitations.ListInvitationsRequest(conversation_id=names.conversation),
        "RevokeInvitation": invitations.RevokeInvitationRequest(**about, invitation_id=names.invitation),
        "GetInvitation": invitations.GetInvitationRequest(token=names.token),
        "JoinByInvitation": invitations.JoinByInvitationRequest(request_id=request_id(), token=names.token),
        "ScheduleMessage": schedules.ScheduleMessageRequest(**about, content=content, send_time=at),
        "ListScheduledMessages": schedules.ListScheduledMessagesRequest(),
        "UpdateScheduledMessage": schedules.UpdateScheduledMessageRequest(**scheduled, content=content),
        "CancelScheduledMessage": schedules.CancelScheduledMessageRequest(**scheduled),
    }


@dataclass
class Target:
    """The service that is attacked, and what Ada has in it."""

    world: ChatWorld
    channel: Any
    known: Names

    async def ask(
        self, name: str, request: Message | bytes, *roles: str, tenant: str = TENANT, user: str = "mal"
    ) -> Answer:
        (method,) = (each for each in methods(SERVICES) if each.name == name)
        return await ask(self.channel, method, request, self.world.signer.mint(user, tenant, roles))


@pytest_asyncio.fixture
async def target(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Target]:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        name = (await world.user("ada").create_group("bob", title="Secret")).conversation_id
        channel = new_channel(world.server.port)
        made = Target(world, channel, Names(name))
        wanted = requests(made.known)
        invited = (await made.ask("CreateInvitation", wanted["CreateInvitation"], "customer", user="ada")).message
        later = (await made.ask("ScheduleMessage", wanted["ScheduleMessage"], "customer", user="ada")).message
        made.known = Names(name, invited.invitation.invitation_id, invited.token, later.scheduled_message.scheduled_id)
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
            allowed = role in POLICY[f"/{method.containing_service.full_name}/{method.name}"]
            answer = await target.ask(method.name, requests(Names(ABSENT))[method.name], role)
            turned_away = answer.status.message == "the caller's roles do not allow this call"
            assert turned_away is not allowed, (role, method.name, answer)
            assert answer.code in HARMLESS, (role, method.name, answer)


async def test_what_another_has_is_as_what_does_not_exist(target: Target) -> None:
    theirs, none = requests(target.known), requests(Names(ABSENT))
    for role in ("customer", "service", "admin"):
        for name in none:
            if name == "ListScheduledMessages":
                continue
            foreign = await target.ask(name, theirs[name], role, tenant="other")
            absent = await target.ask(name, none[name], role, tenant="other")
            assert (absent.code, absent.reason) == (CODE.NOT_FOUND, "NOT_FOUND"), (role, name, absent)
            assert foreign.status == absent.status, (role, name)
    # In the same tenant: a stranger without the token, and scheduled messages of somebody else.
    for name in (*BY_ID, "UpdateScheduledMessage", "CancelScheduledMessage"):
        foreign = await target.ask(name, theirs[name], "customer")
        absent = await target.ask(name, none[name], "customer")
        assert (absent.code, absent.reason) == (CODE.NOT_FOUND, "NOT_FOUND"), (name, absent)
        assert foreign.status == absent.status, name
    for role in ("customer", "admin"):
        answer = await target.ask("ListScheduledMessages", theirs["ListScheduledMessages"], role)
        assert not answer.message.scheduled_messages
    answer = await target.ask("ListScheduledMessages", theirs["ListScheduledMessages"], "customer", user="ada")
    assert [each.content.text for each in answer.message.scheduled_messages] == ["hi"]


async def test_nothing_hostile_is_a_defect(target: Target, capfd: pytest.CaptureFixture[str]) -> None:
    for method in methods(SERVICES):
        for what, request in hostile(requests(target.known)[method.name]):
            answer = await target.ask(method.name, request, "customer", user="ada")
            assert answer.code in HARMLESS, (method.name, what, answer)
    told = capfd.readouterr()
    assert "unexpected_error" not in told.err
    assert target.known.token not in told.err + told.out
