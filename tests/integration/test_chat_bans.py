"""What a process knows of who is banned: looked at when it must be, and no more often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.chat import commands
from services.chat.access import Actor
from services.chat.domain import Refused
from services.chat.lookups import Lookups
from services.chat.messaging import Messaging
from services.chat.moderation import bans as bans_of
from services.chat.moderation.bans import Bans
from services.chat.moderation.domain import standing
from services.chat.moderation.projections import BAN_CHANGES, BANNED, standing_of
from services.chat.moderation.review import Reviewer
from services.chat.whispers import Whispers
from services.ledger.decider import Request
from services.ledger.errors import StoreUnavailable
from tests.integration.chat_world import TENANT, ChatWorld, chat_world, request_id
from tests.integration.test_chat_moderation import moderate
from tests.servers import NatsServer


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


async def test_a_ban_that_nobody_whispered_of_is_seen_however_long_after_the_last_look(
    world: ChatWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bans_of, "MOST_STALE", 0.0)
    monkeypatch.setattr(bans_of, "_CLOCKS_APART_US", 0)
    bans = Bans(world.ledger, Whispers(world.client))
    await bans.require_good(TENANT, "ada")
    command = standing.BanUser(commands.now_us(), "chief", "", "ada", 0, "")
    await world.ledger.execute(standing_of(TENANT, "ada"), command, Request(request_id(), b"ban"))
    with pytest.raises(Refused) as told:
        await bans.require_good(TENANT, "ada")
    assert told.value.reason == "USER_BANNED"
    await bans.close()


async def test_a_store_that_is_down_is_not_asked_once_a_call(world: ChatWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def down(table: str, *_: Any, **__: Any) -> Any:
        if table in (BANNED, BAN_CHANGES):  # and not what others of the service look for
            asked.append(table)
        raise StoreUnavailable("down")

    monkeypatch.setattr(bans_of, "MOST_STALE", 0.0)
    monkeypatch.setattr(bans_of, "_AFTER_FAILURE", 300.0)
    bans = Bans(world.ledger, Whispers(world.client))
    await bans.require_good(TENANT, "ada")
    with monkeypatch.context() as while_down:
        while_down.setattr(world.ledger, "rows", down)
        for _ in range(50):
            await bans.require_good(TENANT, "ada")  # what is remembered stands
            with pytest.raises(StoreUnavailable):
                await bans.require_good("unread", "ada")
    assert len(asked) == 2  # once for each tenant
    await bans.close()


async def test_bans_that_ended_cost_no_memory(world: ChatWorld) -> None:
    for user_id, until_us in (("ada", 1), ("bob", 0)):
        command = standing.BanUser(commands.now_us(), "chief", "", user_id, until_us, "")
        await world.ledger.execute(standing_of(TENANT, user_id), command, Request(request_id(), b"ban"))
    bans = Bans(world.ledger, Whispers(world.client))
    assert await bans.count(TENANT) == 1
    assert set(bans._known(TENANT).banned) == {"bob"}
    await bans.close()


async def test_what_a_banned_user_left_to_be_said_later_is_not_said(world: ChatWorld) -> None:
    name = (await world.user("ada").create_group()).conversation_id
    await moderate(world.user("chief", "admin"), "BanUser", user_id="ada")
    bans = Bans(world.ledger, Whispers(world.client))
    messaging = Messaging(world.ledger, Lookups(world.ledger), reviewer=Reviewer({}, bans))
    actor, request = Actor(TENANT, "ada", "", False, False), world.user("ada").message(name, "later")
    with pytest.raises(Refused) as told:
        await messaging.prepare(request, actor, commands.aggregate_of(actor, name), 1, None)
    assert told.value.reason == "USER_BANNED"
    await bans.close()
