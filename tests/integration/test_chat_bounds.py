"""What one stream may hold and ask is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat.changes import Changes
from services.chat.converse import Converse
from services.chat.departures import Departures
from services.chat.lookups import Lookups
from services.chat.messaging import Messaging
from services.chat.news import Sources
from services.chat.operations import Performer
from services.runtime.call import Call, Caller
from services.runtime.limits import RateLimiter
from services.runtime.spans import NO_SPAN
from tests.integration.chat_world import TENANT, chat_world
from tests.servers import NatsServer


async def test_frames_are_not_read_while_answers_are_not_fetched(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        read = 0

        async def requests() -> AsyncIterator[pb.ConverseRequest]:
            nonlocal read
            while True:
                yield pb.ConverseRequest(sends=[ada.message(name, "x") for _ in range(100)])
                read += 1

        call = Call(
            caller=Caller(TENANT, "ada", frozenset({"customer"})),
            method="",
            draining=asyncio.Event(),
            deadline=None,
            ours=False,
            span=NO_SPAN,
            limiter=RateLimiter(0, 1, 1),
            loop=asyncio.get_running_loop(),
        )
        messaging = Messaging(world.ledger, Lookups(world.ledger))
        performer = Performer(world.ledger, messaging, Changes(world.ledger), world.presence.SetTyping)
        sources = Sources(world.presence, world.inbox)
        parts = (messaging, performer, Departures(world.ledger), sources)
        stream = Converse(world.ledger, *parts, call, world.settings)
        frames = stream.serve(requests())
        first = pb.ConverseResponse.FromString(await anext(frames))
        # Nobody fetches a further frame. All that was read gets into the log, and no more is read.
        stalled = (1024 + len(first.results) + 99) // 100 - 1
        async with asyncio.timeout(60):
            while read < stalled or stream._answered < stream._unanswered:
                await asyncio.sleep(0.01)
        for _ in range(200):
            await asyncio.sleep(0)
        assert read == stalled
        assert stream._unanswered <= 1024 + 255
        seen = len(first.results)
        while seen < 3000:  # and whoever fetches again goes on
            seen += len(pb.ConverseResponse.FromString(await anext(frames)).results)
        closing: Any = frames
        await closing.aclose()


async def test_a_stream_hears_a_bounded_number_of_conversations(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, stream_subscriptions=2) as world:
        ada = world.user("ada")
        names = [(await ada.create_group()).conversation_id for _ in range(3)]
        talk = ada.converse()
        await talk.write(subscribe=dict.fromkeys(names, 0))
        await talk.until(lambda t: bool(t.ended) and len(t.events) == 2)
        assert talk.ended == {names[2]: "OVERLOADED"}
        await talk.write(subscribe={names[2]: 0}, unsubscribe=[names[0]])
        await talk.until(lambda t: len(t.events) == 3)
        talk.call.cancel()


async def test_a_stream_above_its_rate_is_slowed_and_not_refused(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, rate_limit=500, rate_burst=100) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        talk = ada.converse()
        started = time.monotonic()
        for _ in range(6):
            await talk.write(*(ada.message(name, "x") for _ in range(50)))
        await talk.until(lambda t: len(t.results) == 300)
        assert time.monotonic() - started > 0.3  # 200 above the burst, at 500 a second, less what the clock is coarse
        assert all(result.version for result in talk.results.values())
        talk.call.cancel()
