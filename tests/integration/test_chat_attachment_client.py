"""Attachments through the client and the command line; over cuts, and in bounded memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from tradewind.cli.__main__ import app
from tradewind.sdk import Client, FailedPrecondition, NotFound
from typer.testing import CliRunner

from services.chat.attachments.jetstream import JetStreamVault
from services.chat.attachments.vault import Held, VaultUnavailable
from tests.integration.attachment_world import CHUNK, attachment_world, picture, sha256, some_bytes
from tests.integration.chat_world import TENANT, ChatWorld

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatWorld]:
    async with attachment_world(tmp_path_factory.mktemp("client")) as running:
        yield running


def client(world: ChatWorld, user_id: str) -> Client:
    return Client(f"127.0.0.1:{world.server.port}", world.signer.mint(user_id, TENANT, ("customer",)))


class Cuts:
    """Breaks every third write to, and read from, the object store."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        append, chunk = JetStreamVault.append, JetStreamVault._chunk

        async def cut_append(vault: JetStreamVault, name: str, held: Held, data: bytes) -> Held:
            self.cut()
            after = await append(vault, name, held, data)
            self.cut()  # it landed, and nobody is told
            return after

        async def cut_chunk(vault: JetStreamVault, seq: int) -> bytes:
            self.cut()
            return await chunk(vault, seq)

        patch.setattr(JetStreamVault, "append", cut_append)
        patch.setattr(JetStreamVault, "_chunk", cut_chunk)

    def cut(self) -> None:
        self.count += 1
        if self.count % 3 == 0:
            raise VaultUnavailable("cut", 0.01)


@pytest.mark.parametrize("source", ["bytes", "file", "pieces"])
async def test_uploads_and_downloads_go_on_by_themselves(
    world: ChatWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    data = some_bytes(6 * CHUNK + 12_345)
    file = tmp_path / "blob.bin"
    file.write_bytes(data)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 33_333):
            yield data[at : at + 33_333]

    cuts = Cuts(monkeypatch)
    told: list[int] = []
    async with client(world, "ann") as ann, client(world, "bob") as bob:
        group = (await ann.chat.create_group(["bob"])).conversation_id
        given: Any = {"bytes": data, "file": file, "pieces": pieces()}[source]
        info = await ann.chat.upload(group, given, size=len(data), progress=lambda done, _: told.append(done))
        assert (info.sha256, info.size_bytes) == (sha256(data), len(data))
        assert told == sorted(told)
        assert (told[0], told[-1]) == (0, len(data))
        await ann.chat.send_message(group, "here", parts=[ann.chat.attachment(info)])
        begun = cuts.count
        found = b"".join([piece async for piece in bob.chat.download(info.attachment_id, conversation_id=group)])
        assert found == data
        assert cuts.count > begun + 7
        part = [piece async for piece in bob.chat.download(info.attachment_id, offset=CHUNK - 1, length=CHUNK)]
        assert b"".join(part) == data[CHUNK - 1 : 2 * CHUNK - 1]

        out = tmp_path / "out.bin"
        (tmp_path / "out.bin.part").write_bytes(data[: 2 * CHUNK + 7])
        assert (await bob.chat.download_to(info.attachment_id, out)).sha256 == sha256(data)
        assert out.read_bytes() == data
        assert not (tmp_path / "out.bin.part").exists()
        # What a run left that fetched something else under this name is no reason to fail.
        (tmp_path / "out.bin.part").write_bytes(some_bytes(3 * CHUNK, seed=2))
        assert (await bob.chat.download_to(info.attachment_id, out)).sha256 == sha256(data)
        assert out.read_bytes() == data


async def test_what_is_refused_leaves_nothing_behind(world: ChatWorld) -> None:
    async with client(world, "cy") as cy:
        group = (await cy.chat.create_group()).conversation_id
        with pytest.raises(FailedPrecondition) as refused:
            await cy.chat.upload(group, b"#!/bin/sh\n", name="run.sh")
        assert refused.value.reason == "CONTENT_REFUSED"
        assert [each async for each in cy.chat.list_attachments()] == []
        with pytest.raises(NotFound):
            await cy.chat.get_attachment("0190aaaa-0000-7000-8000-000000000000")

        async def broken() -> AsyncIterator[bytes]:
            yield bytes(CHUNK)
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            await cy.chat.upload(group, broken(), size=3 * CHUNK)


async def test_large_files_take_little_memory(world: ChatWorld) -> None:
    size, here = 64 * MIB, psutil.Process()
    piece = some_bytes(MIB)
    before = most = here.memory_info().rss

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal most
        for _ in range(size // MIB):
            most = max(most, here.memory_info().rss)
            yield piece

    async with client(world, "ann") as ann:
        group = (await ann.chat.create_group()).conversation_id
        info = await ann.chat.upload(group, pieces(), size=size)
        got = 0
        async for data in ann.chat.download(info.attachment_id):
            got += len(data)
            most = max(most, here.memory_info().rss)
    assert (got, info.size_bytes) == (size, size)
    # Server and client are both in this process; held as a whole on either side it would be more than the file.
    assert most - before < 60 * MIB


async def test_the_command_line(world: ChatWorld, tmp_path: Path) -> None:
    assert world.attachments.http is not None

    async def run(user: str, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        environment = {
            "TRADEWIND_ENDPOINT": f"127.0.0.1:{world.server.port}",
            "TRADEWIND_TOKEN": world.signer.mint(user, TENANT, ("customer",)),
        }
        done = await asyncio.to_thread(CliRunner().invoke, app, ["--json", "chat", *arguments], env=environment)
        assert done.exit_code == code, done.output
        return [json.loads(line) for line in done.output.splitlines()]

    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(700, 500))
    (group,) = await run("ann", "create", "bob")
    name = group["conversation_id"]
    (sent,) = await run("ann", "attach", name, str(photo), "--text", "Look")
    assert sent["media_type"] == "image/png"
    (message,) = await run("bob", "history", name)
    (part,) = message["content"]["parts"]
    assert part["attachment"]["sha256"] == sha256(photo.read_bytes()).hex()
    assert (part["attachment"]["name"], part["attachment"]["width"]) == ("photo.png", 700)
    copy = tmp_path / "copy.png"
    await run("bob", "download", sent["attachment_id"], "-o", str(copy), "--conversation", name)
    assert copy.read_bytes() == photo.read_bytes()
    (link,) = await run("bob", "link", sent["attachment_id"], "--thumbnail", "160")
    assert link["uri"].startswith(world.settings.attachment_url)
    (mine,) = await run("ann", "attachments", "--limit", "1")
    assert mine["attachment_id"] == sent["attachment_id"]
    (refused,) = await run("cy", "download", sent["attachment_id"], code=1)
    assert refused["reason"] == "NOT_FOUND"
