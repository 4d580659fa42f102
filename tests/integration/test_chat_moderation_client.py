"""Moderation and bots by the client and the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_pb2, moderation_pb2
from tradewind.sdk import Client, FailedPrecondition, PermissionDenied, RetryPolicy

from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.servers import NatsServer


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def client_of(world: ChatWorld, user_id: str, role: str = "customer") -> Client:
    token = world.signer.mint(user_id, TENANT, (role,))
    return Client(f"127.0.0.1:{world.server.port}", token, retry=RetryPolicy(longest_wait=0.2))


async def tradewind(world: ChatWorld, user_id: str, role: str, *arguments: str) -> list[dict[str, Any]]:
    """Run the command line as somebody."""
    token = world.signer.mint(user_id, TENANT, (role,))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tradewind.cli", "--json", "--endpoint", f"127.0.0.1:{world.server.port}"),
        *("--token", token, "chat", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return [json.loads(line) for line in out.splitlines()]


async def test_a_report_is_reviewed_and_its_author_banned(world: ChatWorld) -> None:
    async with (
        client_of(world, "ada") as ada,
        client_of(world, "bob") as bob,
        client_of(world, "chief", "admin") as chief,
    ):
        name = (await ada.chat.create_group(["bob"])).conversation_id
        said = (await ada.chat.send_message(name, "rude")).version
        async with aclosing(chief.chat.watch_reports()) as news:
            await bob.chat.report_message(name, said, moderation_pb2.REPORT_REASON_HATE, "look")
            assert (await anext(news)).message_version == said
            (waiting,) = [each async for each in chief.chat.list_reports(page_size=1)]
            assert (waiting.message.content.text, waiting.latest[0].text) == ("rude", "look")
            banned = moderation_pb2.REPORT_RESOLUTION_AUTHOR_BANNED
            await chief.chat.resolve_report(name, said, banned, note="rude", ban_seconds=600)
            assert (await anext(news)).resolution == banned
        with pytest.raises(FailedPrecondition) as told:
            await chief.chat.resolve_report(name, said, banned)
        assert told.value.reason == "REPORT_RESOLVED"
        with pytest.raises(PermissionDenied) as told_ada:
            await ada.chat.send_message(name, "again")
        assert told_ada.value.reason == "USER_BANNED"
        assert [each.user_id async for each in chief.chat.list_banned_users(page_size=1)] == ["ada"]
        await chief.chat.unban_user("ada")
        await ada.chat.send_message(name, "sorry")


async def test_a_bot_answers_what_is_pressed(world: ChatWorld) -> None:
    async with client_of(world, "ada") as ada, client_of(world, "pizzabot", "service") as bot:
        name = (await ada.chat.create_group(["pizzabot"])).conversation_id
        action = chat_pb2.CardAction(id="order", label="Order")
        card = chat_pb2.Part(card=chat_pb2.Card(title="Pizza?", actions=[action]))
        posted = (await bot.chat.send_message(name, "", parts=[card])).version
        pressing = asyncio.ensure_future(ada.chat.press_action(name, posted, "order", values={"size": "l"}, wait=10))
        async with aclosing(bot.chat.watch_actions()) as presses:
            event = await anext(presses)
            answered = await bot.chat.answer_action(event.version, "On its way", attributes={"eta": "30"})
            assert (await anext(presses)).version == answered
        assert (await pressing).answer.text == "On its way"


async def test_the_command_line(world: ChatWorld) -> None:
    async with client_of(world, "ada") as ada, client_of(world, "pizzabot", "service") as bot:
        name = (await ada.chat.create_group(["bob", "pizzabot"])).conversation_id
        said = str((await ada.chat.send_message(name, "rude")).version)
        action = chat_pb2.CardAction(id="order", label="Order")
        card = chat_pb2.Part(card=chat_pb2.Card(title="Pizza?", actions=[action]))
        posted = str((await bot.chat.send_message(name, "", parts=[card])).version)
        await asyncio.gather(
            tradewind(world, "bob", "customer", "report", name, said, "--reason", "self-harm"),
            tradewind(world, "bob", "customer", "press", name, posted, "order", "--value", "size=l", "--wait", "0"),
            tradewind(world, "chief", "admin", "ban-user", "eve", "--seconds", "600", "--reason", "spam"),
        )
        waiting, banned, pressed = await asyncio.gather(
            tradewind(world, "chief", "admin", "reports"),
            tradewind(world, "chief", "admin", "banned-users"),
            tradewind(world, "pizzabot", "service", "watch-actions", "--count", "1", "--share", "0/1"),
        )
        assert [each["message"]["content"]["text"] for each in waiting] == ["rude"]
        assert [(each["user_id"], each["reason"]) for each in banned] == [("eve", "spam")]
        assert [(each["actor_id"], each["pressed"]["values"]) for each in pressed] == [("bob", {"size": "l"})]
        done = await asyncio.gather(
            tradewind(world, "chief", "admin", "resolve", name, said, "remove", "--note", "no"),
            tradewind(world, "chief", "admin", "unban-user", "eve"),
            tradewind(world, "pizzabot", "service", "answer", "1", "On its way"),
        )
        assert [each["resolution"] for each in done[0]] == ["REPORT_RESOLUTION_REMOVED"]
