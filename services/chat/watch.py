"""Watch: one conversation's events over a server stream. What the log holds is opened once for all who watch, and goes out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain
from services.chat.access import actor_of
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.departures import Departures
from services.chat.subscriptions import allowed, arrived_in_order
from services.ledger.cursor import Watcher
from services.ledger.ledger import Ledger
from services.runtime.call import Call


async def watch(
    ledger: Ledger,
    contents: Contents,
    departures: Departures,
    request: pb.WatchRequest,
    call: Call,
    settings: ChatSettings,
) -> AsyncIterator[pb.WatchResponse | bytes]:
    """Stream a conversation's events after a version. Raises domain.Refused (NOT_FOUND; NOT_A_MEMBER once removed)."""
    actor = actor_of(call.caller)
    aggregate = commands.aggregate_of(actor, request.conversation_id)
    watcher = ledger.watcher(contents.run, pace=settings.stream_pace)
    async with told_of_drain(call, watcher):
        woken = watcher.flag.set
        place = await allowed(ledger, departures, aggregate, actor, request.after_version, lambda _: woken())
        with closing(place):
            await watcher.add(aggregate, request.after_version)
            while not call.draining.is_set():
                frames = await watcher.ready()
                if place.doubted and not await place.stands(ledger):
                    raise domain.not_a_member()
                for frame in frames:
                    if not await arrived_in_order(place, frame, watcher):
                        continue
                    if place.passes(frame):
                        yield frame.data
                        continue
                    parsed = pb.WatchResponse.FromString(frame.data)
                    last = await place.cut_after(frame, parsed.events, ledger)
                    if last is None:
                        yield frame.data
                        continue
                    until_then = [event for event in parsed.events if event.version <= last]
                    if until_then:
                        yield pb.WatchResponse(events=until_then)
                    raise domain.not_a_member()
    yield pb.WatchResponse(going_away=going_away(settings))


def going_away(settings: ChatSettings) -> pb.GoingAway:
    """Send a client elsewhere, after a time of its own."""
    spread_ms = int(settings.reconnect_spread * 1000)
    return pb.GoingAway(reconnect_after_ms=random.randint(0, spread_ms))


@asynccontextmanager
async def told_of_drain(call: Call, watcher: Watcher) -> AsyncIterator[None]:
    """Wake a watcher's stream when the server drains; close the watcher at the end."""

    async def tell() -> None:
        await call.draining.wait()
        watcher.flag.set()

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
        watcher.close()
