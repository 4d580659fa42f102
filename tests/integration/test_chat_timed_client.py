"""Invitations, scheduled messages and messages that do not last, by the client and the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_pb2, invitation_service_pb2, schedule_service_pb2
from tradewind.cli.__main__ import app
from tradewind.sdk import Client, FailedPrecondition, NotFound, RetryPolicy
from typer.testing import CliRunner

from services.ledger.ids import AggregateId
from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.servers import NatsServer
from tests.tally import eventually


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def client_of(world: ChatWorld, user_id: str) -> Client:
    token = world.signer.mint(user_id, TENANT, ("customer",))
    return Client(f"127.0.0.1:{world.server.port}", token, retry=RetryPolicy(longest_wait=0.2))


async def run(world: ChatWorld, user_id: str, *arguments: str) -> list[dict[str, Any]]:
    """Run a command as somebody; one at a time, as it writes to what all share."""
    who = ["--endpoint", f"127.0.0.1:{world.server.port}", "--token", world.signer.mint(user_id, TENANT, ("customer",))]
    done = await asyncio.to_thread(CliRunner().invoke, app, ["--json", *who, "chat", *arguments])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_the_client_invites_and_joins(world: ChatWorld) -> None:
    async with client_of(world, "ada") as ada, client_of(world, "bob") as bob, client_of(world, "cy") as cy:
        name = (await ada.chat.create_group(title="Lunch")).conversation_id
        made = await ada.chat.create_invitation(name, max_uses=1, expire_after=3600)
        assert (await bob.chat.get_invitation(made.token)).title == "Lunch"
        assert [each.user_id for each in (await bob.chat.join_by_invitation(made.token)).members] == ["ada", "bob"]
        with pytest.raises(FailedPrecondition) as told:
            await cy.chat.join_by_invitation(made.token)
        assert told.value.reason == "INVITATION_USED_UP"
        with pytest.raises(NotFound):
            await cy.chat.get_invitation("A" * 43)
        (listed,) = await ada.chat.list_invitations(name)
        assert listed.state == invitation_service_pb2.INVITATION_STATE_USED_UP
        revoked = await ada.chat.revoke_invitation(name, listed.invitation_id)
        assert revoked.state == invitation_service_pb2.INVITATION_STATE_REVOKED


async def test_the_client_says_something_later_and_for_a_while(world: ChatWorld) -> None:
    async with client_of(world, "ada") as ada:
        name = (await ada.chat.create_group()).conversation_id
        later = datetime.now(UTC) + timedelta(hours=1)
        made = await ada.chat.schedule_message(name, "later", later, expire_after=60)
        gone = await ada.chat.schedule_message(name, "never", later + timedelta(hours=1))
        assert [each.content.text async for each in ada.chat.list_scheduled_messages(page_size=1)] == ["later", "never"]
        await ada.chat.cancel_scheduled_message(gone.scheduled_id)
        soon = datetime.now(UTC) + timedelta(seconds=3)
        await ada.chat.update_scheduled_message(made.scheduled_id, send_time=soon)

        async def said() -> list[chat_pb2.Message]:
            return [each async for each in ada.chat.list_messages(name)]

        (message,) = await eventually(said)
        assert message.content.text == "later"
        assert message.expire_time.ToDatetime(UTC) - message.send_time.ToDatetime(UTC) == timedelta(seconds=60)
        assert (await ada.chat.update(name, message_ttl=5)).message_ttl_seconds == 5
        version = (await ada.chat.send_message(name, "for a while")).version
        newest = next(each for each in await said() if each.version == version)
        assert newest.expire_time.ToDatetime(UTC) - newest.send_time.ToDatetime(UTC) == timedelta(seconds=5)


async def test_the_command_line(world: ChatWorld) -> None:
    async with client_of(world, "ada") as ada:
        name = (await ada.chat.create_group(title="Lunch")).conversation_id
    (made,) = await run(world, "ada", "invite", name, "--uses", "2", "--seconds", "600")
    (later,) = await run(world, "ada", "send", name, "later", "--at", _in_an_hour())
    (joined,) = await run(world, "bob", "join", "--invitation", made["token"])
    assert [each["user_id"] for each in joined["members"]] == ["ada", "bob"]
    (seen,) = await run(world, "cy", "invitation", made["token"])
    assert seen["title"] == "Lunch"
    assert [each["scheduled_id"] for each in await run(world, "ada", "scheduled")] == [later["scheduled_id"]]
    (changed,) = await run(world, "ada", "reschedule", later["scheduled_id"], "--text", "much later")
    assert changed["content"]["text"] == "much later"
    (sent,) = await run(world, "ada", "send", name, "for a while", "--expire-after", "60")
    shown = await run(world, "ada", "history", name)
    assert [each["version"] for each in shown if "expire_time" in each] == [sent["version"]]
    (listed,) = await run(world, "ada", "invitations", name)
    assert (listed["uses"], listed["max_uses"]) == (1, 2)
    await run(world, "ada", "revoke-invitation", name, listed["invitation_id"])
    await run(world, "ada", "cancel-scheduled", later["scheduled_id"])
    async with client_of(world, "ada") as ada:
        assert [each async for each in ada.chat.list_scheduled_messages()] == []
        (after,) = await ada.chat.list_invitations(name)
        assert after.state == invitation_service_pb2.INVITATION_STATE_REVOKED


async def test_what_will_be_said_lies_sealed(world: ChatWorld) -> None:
    async with client_of(world, "ada") as ada:
        name = (await ada.chat.create_group()).conversation_id
        await ada.chat.schedule_message(name, "palimpsest-later", datetime.now(UTC) + timedelta(hours=1))
        (listed,) = [each async for each in ada.chat.list_scheduled_messages()]
        assert listed.content.text == "palimpsest-later"
        events = await world.ledger.history(AggregateId(TENANT, "schedule", "ada"), limit=10)
        stored = [schedule_service_pb2.ScheduleEvent.FromString(each.payload) for each in events]
        assert [b"palimpsest" in each.scheduled.content for each in stored] == [False]


def _in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
