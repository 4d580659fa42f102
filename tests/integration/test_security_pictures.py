"""The server of tracked pictures, against clients that come in numbers, say nothing, or say it slowly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.mail.tracking import PIXEL, Links, PictureServer

LINKS = Links("http://127.0.0.1", [b"k" * 32])
PATH = LINKS.picture("acme", "m1").removeprefix("http://127.0.0.1")


@asynccontextmanager
async def pictures(**bounds: float) -> AsyncIterator[tuple[PictureServer, list[tuple[str, str]]]]:
    opened: list[tuple[str, str]] = []

    async def note(tenant: str, mail_id: str) -> None:
        opened.append((tenant, mail_id))

    server = PictureServer(LINKS, note, **bounds)  # type: ignore[arg-type]
    await server.start("127.0.0.1", 0)
    try:
        yield server, opened
    finally:
        await server.close()


async def fetch(port: int, path: str, method: str = "GET") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_picture_is_fetched_and_a_forged_one_is_not() -> None:
    async with asyncio.timeout(60), pictures() as (server, opened):
        assert (await fetch(server.port, PATH)).endswith(PIXEL)
        assert opened == [("acme", "m1")]
        changed = PATH[:10] + ("A" if PATH[10] != "A" else "B") + PATH[11:]
        for path in (
            changed,
            "/o/x.gif",
            "/o/../o/.gif",
            f"{PATH}?to=http://evil.example",
            "/",
            "/o/" + "A" * 4000 + ".gif",
        ):
            answer = await fetch(server.port, path)
            assert answer.split(b" ", 2)[1] == (b"200" if "?" in path else b"404")
            assert b"evil" not in answer
        assert b" 405 " in await fetch(server.port, PATH, "POST")
        assert len(opened) == 2


async def test_who_says_nothing_or_says_it_slowly_is_hung_up_on() -> None:
    async with asyncio.timeout(60), pictures(seconds=0.3) as (server, _):
        silent = await asyncio.open_connection("127.0.0.1", server.port)
        slow = await asyncio.open_connection("127.0.0.1", server.port)
        slow[1].write(b"GET /o/")
        for reader, writer in (silent, slow):
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                assert reader.at_eof() or reader.exception() is not None
            writer.close()


async def test_there_are_no_more_connections_than_there_may_be() -> None:
    async with asyncio.timeout(60), pictures(connections=2) as (server, _):
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        assert await fetch(server.port, PATH) == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        while not (answer := await fetch(server.port, PATH)):
            await asyncio.sleep(0)
        assert answer.endswith(PIXEL)
