"""A conversation and a list that are long enough for a store to cut their rows into slices: nothing of them is lost at the edges."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands
from tests.integration.chat_world import chat_world, request_id
from tests.integration.talk_checks import look_at_all
from tests.integration.talk_model import CHIEF, Said
from tests.integration.talk_player import PEOPLE, Player, Step
from tests.servers import NatsServer

MESSAGES = 600
"""Marks are cut every 256 versions."""
STEPS = 100
WHAT = ("edit", "delete", "hide", "react", "react", "pin", "mark", "forward", "send")
HOUR_US = 3_600_000_000


async def say_many(player: Player, count: int) -> None:
    """Say much over one stream, some of it in the thread of the first message, some of it mentioning somebody."""
    talk = player.user("ada", 0).converse()
    asked: list[tuple[pb.SendMessageRequest, Said]] = []
    for number in range(count):
        said = Said("ada", [f"words {number}"], root=2 if number % 7 == 6 else 0)
        said.names = ("bob",) if number % 5 == 4 else ()
        content = chat_pb2.MessageContent(text=said.wordings[0], thread_root=said.root)
        content.mentions.user_ids.extend(said.names)
        asked.append((pb.SendMessageRequest(request_id=request_id(), conversation_id=player.id, content=content), said))
    for start in (0, 1, *range(101, count, 100)):  # the first alone: others answer it
        part = asked[start : 1 if start == 0 else min(count, start + 100)]
        await talk.write(*(request for request, _ in part))
        await talk.until(lambda talk: all(request.request_id in talk.results for request, _ in part))  # noqa: B023
    for request, said in asked:
        assert talk.results[request.request_id].version == player.model.send(said)
    talk.call.cancel()


async def test_a_long_conversation_is_what_the_model_says(
    each_chat_store: str, own_nats_server: NatsServer, tmp_path: Path
) -> None:
    draw = random.Random(7)
    async with chat_world(own_nats_server.url, tmp_path) as world:
        channels = {(0, name): world.user(name).channel for name in (*PEOPLE, CHIEF)}
        player = Player([world], channels, "acme")
        await player.begin("group", 3, is_open=False)
        await say_many(player, MESSAGES)
        for _ in range(STEPS):
            a, b = draw.randrange(16 * MESSAGES), draw.randrange(32)
            await player.play(Step(draw.choice(WHAT), draw.choice((0, 0, 0, 1, 2)), a, b, 0))
        await look_at_all(player, 8, size=97)
        await player.end()


async def test_a_list_over_days_is_whole_and_in_order(
    each_chat_store: str, own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's conversations are cut by the time at which they began."""
    now = commands.now_us
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada, bob = world.user("ada"), world.user("bob")
        made = []
        for hours in range(-96, 0, 4):  # of the past: what began so is never of the future
            monkeypatch.setattr(commands, "now_us", lambda hours=hours: now() + hours * HOUR_US)
            made.append((await ada.create_group("bob")).conversation_id)
            await ada.send(made[-1], "hello")
        monkeypatch.setattr(commands, "now_us", now)
        for size in (1, 5, 200):
            for rpc, field in (("ListConversations", "conversations"), ("ListUnread", "unread")):
                listed: list[str] = []
                page = getattr(pb, f"{rpc}Request")(page_size=size)
                while True:
                    answer = await bob.call(rpc, page)
                    listed += [each.conversation_id for each in getattr(answer, field)]
                    if not answer.next_page_token:
                        break
                    page.page_token = answer.next_page_token
                assert listed == made[::-1]
