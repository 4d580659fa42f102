"""Attachments by HTTP: signed links that expire, conditions, ranges, and what browsers are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from tradewind.chat.v1 import attachment_service_pb2 as pb

from services.chat.attachments.links import Links
from tests.integration.attachment_world import CHUNK, Sender, attachment_world, picture, sha256, some_bytes
from tests.integration.chat_world import TENANT, ChatWorld, request_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatWorld]:
    folder = tmp_path_factory.mktemp("links")
    async with attachment_world(folder, attachment_link_cache="public") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def here(world: ChatWorld, uri: str) -> str:
    """A link, at the port that the system chose."""
    assert world.attachments.http is not None
    return uri.replace(world.settings.attachment_url, f"http://127.0.0.1:{world.attachments.http.port}")


async def linked(world: ChatWorld, data: bytes, **fields: str) -> tuple[str, str]:
    """Upload as ann; gives the id and a link."""
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    made = (await ann.upload(group, data, **fields)).attachment_id
    return made, here(world, await ann.link(made))


async def test_a_link_gives_the_bytes_and_how_to_keep_them(world: ChatWorld, http: aiohttp.ClientSession) -> None:
    data = some_bytes(2 * CHUNK + 5)
    _, uri = await linked(world, data, name='Über "alles"\u202e/../x.bin')
    async with http.get(uri) as got:
        assert await got.read() == data
        headers = got.headers
    assert headers["ETag"] == f'"{sha256(data).hex()}"'
    cache = [each.strip() for each in headers["Cache-Control"].split(",")]
    assert cache[0] == "public"
    assert cache[2] == "immutable"
    assert 3500 < int(cache[1].removeprefix("max-age=")) <= 7200
    assert headers["Content-Disposition"] == (
        "attachment; filename=\"_ber _alles_..x.bin\"; filename*=UTF-8''%C3%9Cber%20%22alles%22..x.bin"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["Content-Type"] == "application/octet-stream"
    async with http.head(uri) as told:
        assert (told.status, told.headers["Content-Length"], await told.read()) == (200, str(len(data)), b"")
    for wanted in (headers["ETag"], f'W/{headers["ETag"]}, "x"', "*"):
        async with http.get(uri, headers={"If-None-Match": wanted}) as not_again:
            assert (not_again.status, not_again.headers["ETag"]) == (304, headers["ETag"])
    async with http.get(uri, headers={"If-None-Match": '"other"'}) as again:
        assert again.status == 200


@pytest.mark.parametrize(
    ("wanted", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-", 10, None),
        ("bytes=-7", -7, None),
        (f"bytes={CHUNK - 2}-{CHUNK + 9}", CHUNK - 2, CHUNK + 10),
    ],
)
async def test_parts(world: ChatWorld, http: aiohttp.ClientSession, wanted: str, begin: int, end: int | None) -> None:
    data = some_bytes(CHUNK + 100)
    _, uri = await linked(world, data)
    async with http.get(uri, headers={"Range": wanted}) as got:
        part = await got.read()
        assert (got.status, part) == (206, data[begin:end])
        first = begin % len(data)
        assert got.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        tag = got.headers["ETag"]
    async with http.get(uri, headers={"Range": wanted, "If-Range": tag}) as got:
        assert got.status == 206
    async with http.get(uri, headers={"Range": wanted, "If-Range": '"other"'}) as got:
        assert (got.status, await got.read()) == (200, data)


async def test_parts_that_are_none(world: ChatWorld, http: aiohttp.ClientSession) -> None:
    data = some_bytes(1000)
    _, uri = await linked(world, data)
    for wanted in ("bytes=1000-", "bytes=5000-6000", "bytes=-0"):
        async with http.get(uri, headers={"Range": wanted}) as got:
            assert (got.status, got.headers["Content-Range"]) == (416, "bytes */1000")
    for wanted in ("bytes=0-1,5-6", "lines=0-1", "bytes=9-3", "bytes=-", "bytes=a-b"):
        async with http.get(uri, headers={"Range": wanted}) as got:
            assert (got.status, await got.read()) == (200, data)


async def test_what_could_act_is_only_saved(world: ChatWorld, http: aiohttp.ClientSession) -> None:
    for data, how in (
        (b"<html><script>1</script></html>", "attachment"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "attachment"),
        (b"just words", "inline"),
        (picture(30, 30), "inline"),
    ):
        _, uri = await linked(world, data)
        async with http.get(uri) as got:
            assert got.headers["Content-Disposition"].partition(";")[0] == how
            assert "sandbox" in got.headers["Content-Security-Policy"]


async def test_thumbnails_have_links_of_their_own(world: ChatWorld, http: aiohttp.ClientSession) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    made = await ann.upload(group, picture(800, 600, "JPEG"))
    small = here(world, await ann.link(made.attachment_id, thumbnail=160))
    async with http.get(small) as got:
        body = await got.read()
        assert (got.headers["Content-Type"], body[:3]) == ("image/jpeg", b"\xff\xd8\xff")
        assert got.headers["ETag"] == f'"{made.sha256.hex()}-160"'
        assert len(body) < made.size_bytes


async def test_links_that_are_not_ours_or_have_expired(
    world: ChatWorld, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    made, uri = await linked(world, b"words")
    head, _, token = uri.rpartition("/")
    path = world.settings.attachment_key_file
    assert path is not None
    links = Links.from_file("", path, world.settings.attachment_link_lasts)
    old = links.make(TENANT, made, 0, time.time() - 3 * world.settings.attachment_link_lasts)[0]
    other = Links("", [b"another key that is long enough to be one"], 3600).make(TENANT, made, 0, time.time())[0]
    changed = token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB")
    for bad in (old.removeprefix("/a/"), other.removeprefix("/a/"), changed, token[:-1], "x" * 2000, "AAAA"):
        async with http.get(f"{head}/{bad}") as got:
            assert (got.status, got.headers["Cache-Control"]) == (403, "no-store")
    async with http.get(f"{head.removesuffix('/a')}/elsewhere") as got:
        assert got.status == 404
    ann = Sender(world, "ann")
    assert await ann.link(made) == await ann.link(made)
    await ann.call("DeleteUpload", pb.DeleteUploadRequest(request_id=request_id(), attachment_id=made))


async def test_who_asks_for_nothing_is_hung_up_on(world: ChatWorld) -> None:
    server = world.attachments.http
    assert server is not None
    server._quiet = 0.05
    server._sweep()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(60):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
