"""All streams of a server at once: told to go elsewhere they are soon there, and one that stops reading costs the others nothing."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.ledger.archive import Archive
from services.runtime.tokens import Signer
from tests.integration.chat_world import ChatWorld, chat_world
from tests.servers import NatsServer

STREAMS: Final = int(os.environ.get("TRADEWIND_STORM_STREAMS", "500"))
"""How many; the figures of docs/performance.md are of 5,000."""
CONVERSATIONS: Final = 50
A_CONNECTION: Final = 100
ALL_BACK: Final = 60.0
READS: Final = ("load", "head", "entries", "find_request", "row", "rows")


class Reads:
    """Counts how often a store is read."""

    def __init__(self, archive: Archive) -> None:
        self.count = 0
        for name in READS:
            setattr(archive, name, self._counted(getattr(archive, name)))

    def _counted(self, read: Any) -> Any:
        async def counted(*args: Any, **options: Any) -> Any:
            self.count += 1
            return await read(*args, **options)

        return counted


class Listener:
    """Somebody on a stream of its own, who goes where it is told and then on from where it was."""

    def __init__(self, conversation_id: str, metadata: Any) -> None:
        self.conversation_id, self.metadata = conversation_id, metadata
        self.last = 0
        self.moved_after = 0.0

    async def listen(self, channel: grpc.aio.Channel, until: int) -> None:
        """Hear events until a version, or until the server says good-bye; where it has no room just now, try again soon."""
        while True:
            try:
                await self._listen(channel, until)
            except grpc.aio.AioRpcError as error:
                # INTERNAL is what a write meets whose call was turned away before it.
                if error.code() not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL):
                    raise
                await asyncio.sleep(random.uniform(0.1, 1.0))
            else:
                return

    async def _listen(self, channel: grpc.aio.Channel, until: int) -> None:
        call: Any = channel.stream_stream(
            "/tradewind.chat.v1.ChatService/Converse",
            pb.ConverseRequest.SerializeToString,
            pb.ConverseResponse.FromString,
        )(metadata=self.metadata)
        wanted = pb.Subscribe(conversation_id=self.conversation_id, after_version=self.last)
        await call.write(pb.ConverseRequest(subscribe=[wanted]))
        while self.last < until:
            frame = await call.read()
            for event in (event for delivery in frame.deliveries for event in delivery.events):
                assert event.version == self.last + 1
                self.last = event.version
            if frame.HasField("going_away"):
                self.moved_after = frame.going_away.reconnect_after_ms / 1000
                return
        call.cancel()


@asynccontextmanager
async def connections(port: int) -> AsyncIterator[Sequence[grpc.aio.Channel]]:
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(max(1, STREAMS // A_CONNECTION))
    ]
    try:
        yield channels
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def crowd(world: ChatWorld) -> list[Listener]:
    """People enough that none holds more streams than it may, in conversations of their own."""
    listeners = []
    for number in range(CONVERSATIONS):
        user = world.user(f"u{number}")
        group = (await user.create_group()).conversation_id
        listeners += [Listener(group, user.metadata) for _ in range(STREAMS // CONVERSATIONS)]
    return listeners


async def say_everywhere(world: ChatWorld, listeners: Sequence[Listener]) -> None:
    for number, group in enumerate(dict.fromkeys(listener.conversation_id for listener in listeners)):
        await world.user(f"u{number}").send(group, "hello")


@pytest.mark.timeout(300)
async def test_a_reconnect_storm_is_over_soon_and_reads_little(own_nats_server: NatsServer, tmp_path: Path) -> None:
    signer = Signer(Ed25519PrivateKey.generate())
    async with chat_world(own_nats_server.url, tmp_path, signer=signer) as there:
        async with chat_world(own_nats_server.url, tmp_path, signer=signer) as here:
            listeners = await crowd(here)
            steady = Reads(here.archive)
            async with connections(here.server.port) as channels, connections(there.server.port) as others:
                tasks = [
                    asyncio.create_task(listener.listen(channels[number % len(channels)], 1_000))
                    for number, listener in enumerate(listeners)
                ]
                async with asyncio.timeout(ALL_BACK):
                    while any(listener.last < 1 for listener in listeners):
                        assert not any(task.done() for task in tasks), next(task for task in tasks if task.done())
                        await asyncio.sleep(0.05)
                storm, begun = Reads(there.archive), time.monotonic()
                draining = asyncio.create_task(here.server.drain())
                await asyncio.gather(*tasks)
                longest = max(listener.moved_after for listener in listeners)
                assert 0 < longest <= here.settings.reconnect_spread

                async def back(number: int, listener: Listener) -> None:
                    await asyncio.sleep(listener.moved_after)
                    await listener.listen(others[number % len(others)], 2)

                returning = [asyncio.create_task(back(*each)) for each in enumerate(listeners)]
                await say_everywhere(there, listeners)
                async with asyncio.timeout(ALL_BACK - (time.monotonic() - begun)):
                    await asyncio.gather(*returning)
                took = time.monotonic() - begun
                await draining
        print(f"{STREAMS} streams, all back after {took:.1f} s; reads: {steady.count} steady, {storm.count} storm")  # noqa: T201
        assert storm.count <= 2 * steady.count


@pytest.mark.timeout(300)
async def test_a_stream_that_stops_reading_loses_nothing_and_holds_nothing(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann = world.user("ann")
        group = (await ann.create_group()).conversation_id
        stalled = ann.converse()
        await stalled.write(subscribe={group: 0})
        await stalled.until(lambda talk: talk.versions(group) == [1])
        others = [Listener(group, ann.metadata) for _ in range(20)]
        async with connections(world.server.port) as channels:
            tasks = [asyncio.create_task(other.listen(channels[0], 301)) for other in others]
            for _ in range(3):  # some 5 MB, of which the stalled one takes what HTTP/2's window holds
                await asyncio.gather(*(ann.send(group, "x" * 16_000) for _ in range(100)))
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)
        # It reads again, and nothing is missing.
        await stalled.until(lambda talk: talk.versions(group)[-1:] == [301])
        assert stalled.versions(group) == list(range(1, 302))
        stalled.call.cancel()
