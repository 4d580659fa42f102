"""Whispers between two processes of Chat, over a real nats-server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import pytest

from services.chat.whispers import MOST_BYTES, Whispers
from tests.servers import NatsServer


@asynccontextmanager
async def whispering(server: NatsServer) -> AsyncIterator[Whispers]:
    client = await nats.connect(server.url)
    try:
        yield Whispers(client)
    finally:
        await client.close()


async def test_who_listens_hears_its_own_topic_of_its_own_tenant(nats_server: NatsServer) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with whispering(nats_server) as here, whispering(nats_server) as there:
        await there.listen("acme", "typing/a.b >*", heard.put_nowait)
        await there.listened()
        await here.say("other", "typing/a.b >*", b"of another tenant")
        await here.say("acme", "typing/a", b"of another topic")
        await here.say("acme", "typing/a.b >*", b"its own")
        assert await asyncio.wait_for(heard.get(), 60) == b"its own"
        assert heard.empty()


async def test_many_listen_on_one_subscription_and_the_last_ends_it(nats_server: NatsServer) -> None:
    one: asyncio.Queue[bytes] = asyncio.Queue()
    other: asyncio.Queue[bytes] = asyncio.Queue()
    async with whispering(nats_server) as here, whispering(nats_server) as there:
        listeners = await asyncio.gather(
            *(there.listen("acme", "x", queue.put_nowait) for queue in (one, other) for _ in range(2))
        )
        await there.listened()
        await here.say("acme", "x", b"1")
        assert [await asyncio.wait_for(queue.get(), 60) for queue in (one, one, other, other)] == [b"1"] * 4
        await asyncio.gather(*(there.leave(listener) for listener in listeners[1:]))
        await here.say("acme", "x", b"2")
        assert await asyncio.wait_for(one.get(), 60) == b"2"
        await asyncio.gather(there.leave(listeners[0]), there.leave(listeners[0]))
        again = await there.listen("acme", "x", other.put_nowait)
        await there.listened()
        await here.say("acme", "x", b"3")
        assert await asyncio.wait_for(other.get(), 60) == b"3"
        assert one.empty()
        await there.leave(again)


async def test_a_whisper_is_short(nats_server: NatsServer) -> None:
    async with whispering(nats_server) as here:
        with pytest.raises(ValueError, match="at most"):
            await here.say("acme", "x", b"." * (MOST_BYTES + 1))
