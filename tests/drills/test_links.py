"""Links carry bytes, fall silent each way, are slow, and break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.drills.links import Link

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echo() -> AsyncIterator[Link]:
    """A link to a server that sends back what it gets."""

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(back, "127.0.0.1", 0)
    async with server, Link(server.sockets[0].getsockname()[:2]) as link:
        yield link


async def said(pair: Pair, word: bytes, seconds: float = 10.0) -> bytes:
    """Says a word and waits for as many bytes."""
    reader, writer = pair
    writer.write(word)
    return await asyncio.wait_for(reader.readexactly(len(word)), seconds)


async def test_bytes_go_both_ways_until_the_link_is_cut() -> None:
    async with echo() as link:
        pair = await asyncio.open_connection(link.host, link.port)
        assert await said(pair, b"one") == b"one"
        link.cut(up=False)
        with pytest.raises(TimeoutError):
            await said(pair, b"two", 0.2)
        link.heal()  # what was cut is gone, as after TCP's own patience
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await pair[0].readexactly(1)
        again = await asyncio.open_connection(link.host, link.port)
        assert await said(again, b"six") == b"six"
        again[1].close()


async def test_a_link_breaks_and_refuses() -> None:
    async with echo() as link:
        pair = await asyncio.open_connection(link.host, link.port)
        assert await said(pair, b"one") == b"one"
        link.refusing = True
        link.break_all()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await pair[0].readexactly(1)
        other = await asyncio.open_connection(link.host, link.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await said(other, b"two")
        other[1].close()


async def test_a_slow_link_answers_later() -> None:
    async with echo() as link:
        link.delay_s = 0.3
        pair = await asyncio.open_connection(link.host, link.port)
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await said(pair, b"one") == b"one"
        assert loop.time() - start >= 0.3
        pair[1].close()
