"""What those who keep order write is sealed where it is kept, shown to those who keep order, and outlives who wrote it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tradewind.chat.v1 import moderation_pb2

from services.chat.moderation import projections, wire
from services.chat.moderation.domain import standing
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world
from tests.integration.test_chat_erasure import erase, erasing
from tests.integration.test_chat_moderation import moderate, queue, report, resolve
from tests.integration.test_chat_privacy import logged, on_disk, word
from tests.servers import NatsServer
from tests.tally import eventually


async def watched(user: User, note: str) -> None:
    """Read the live queue until it shows what was noted."""
    call = moderate(user, "WatchReports")
    async with asyncio.timeout(30):
        while note not in [each.note for each in (await call.read()).reports]:
            pass
    call.cancel()


async def banned(user: User) -> dict[str, str]:
    """Why each is banned."""
    return {each.user_id: each.reason for each in (await moderate(user, "ListBannedUsers")).banned_users}


async def versions(world: ChatWorld, user_id: str) -> int:
    return (await world.ledger.read(projections.standing_of(TENANT, user_id))).version


@pytest.mark.timeout(120)
async def test_notes_and_reasons_are_sealed_and_outlive_who_wrote_them(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    removed, refused, why = word(), word(), word()
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada, bob, chief = world.user("ada"), world.user("bob"), world.user("chief", "admin")
        name = (await ada.create_group("bob")).conversation_id
        one, two = await ada.send(name, "rude"), await ada.send(name, "ruder")
        await report(bob, name, one)
        await report(bob, name, two)
        watching = asyncio.create_task(watched(chief, removed))
        answer = await resolve(chief, name, one, "REMOVED", note=removed)
        assert (answer.report.note, answer.report.HasField("stored_note")) == (removed, False)
        answer = await resolve(chief, name, two, "AUTHOR_BANNED", note=refused)
        assert answer.report.note == refused
        answer = await moderate(chief, "BanUser", user_id="cy", reason=why)
        assert (answer.banned_user.reason, answer.banned_user.HasField("stored_reason")) == (why, False)
        before = await versions(world, "cy")
        await moderate(chief, "BanUser", user_id="cy", reason=why)  # it is so already
        assert await versions(world, "cy") == before
        await watching
        kept = await logged(world)
        assert [text for text in (removed, refused, why) if text.encode() in kept] == []

        root = world.user("root", "admin")
        await erase(world, root, erasing("chief"))
        await erase(world, root, erasing("ada"))
        assert await banned(root) == {"ada": refused, "cy": why}
        assert {each.note for each in await queue(root, resolved=True)} == {removed, refused}
    await asyncio.to_thread(own_nats_server.stop)
    files = await asyncio.to_thread(on_disk, tmp_path)
    assert b"chief" in files
    assert [text for text in (removed, refused, why) if text.encode() in files] == []


async def test_what_was_written_before_is_shown_as_it_is(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, person_key_file=None) as world:
        await moderate(world.user("chief", "admin"), "BanUser", user_id="cy", reason="unsealed")
    async with chat_world(own_nats_server.url, tmp_path) as world:
        chief = world.user("chief", "admin")

        async def is_shown() -> bool:
            return await banned(chief) == {"cy": "unsealed"}

        await eventually(is_shown)
        await moderate(chief, "BanUser", user_id="cy", reason="sealed")
        assert await banned(chief) == {"cy": "sealed"}
    event = moderation_pb2.StandingEvent(version=1, actor_id="chief")
    event.banned.reason = "of an older release"
    ban = wire.decode_standing(event.SerializeToString())
    assert isinstance(ban, standing.UserBanned)
    assert wire.banned_user("cy", ban).reason == "of an older release"
    assert wire.decode_standing(wire.encode_standing(ban, 1)) == ban
