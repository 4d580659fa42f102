"""Exports and erasure through the client and the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tradewind.cli.__main__ import app
from tradewind.sdk import Client, PermissionDenied
from typer.testing import CliRunner

from services.chat.privacy import exporting
from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.servers import NatsServer


def client(world: ChatWorld, user_id: str, *roles: str) -> Client:
    """Somebody's client."""
    return Client(f"127.0.0.1:{world.server.port}", world.signer.mint(user_id, TENANT, roles or ("customer",)))


async def test_the_client_exports_and_erases(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "CHUNK_BYTES", 300)
    async with (
        chat_world(own_nats_server.url, tmp_path) as world,
        client(world, "ann") as ann,
        client(world, "root", "admin") as admin,
    ):
        group = (await ann.chat.create_group(title="mine")).conversation_id
        for number in range(5):
            await ann.chat.send_message(group, f"word {number}")
        found = [chunk async for chunk in ann.chat.export_conversation(group)]
        assert len(found) > 3
        whole = b"".join(chunk.json_lines for chunk in found)
        rest = [chunk async for chunk in ann.chat.export_conversation(group, resume_token=found[1].resume_token)]
        assert b"".join(chunk.json_lines for chunk in [*found[:2], *rest]) == whole
        assert b"word 3" in b"".join([chunk.json_lines async for chunk in admin.chat.export_person("ann")])
        with pytest.raises(PermissionDenied):
            await ann.chat.erase_person("ann")
        assert (await admin.chat.erase_person("ann")).keys_destroyed == 1
        mine = b"".join([chunk.json_lines async for chunk in ann.chat.export_person()])
        assert (b"word" in mine, mine.count(b'"erased": true')) == (False, 5)


async def test_the_command_line(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:

        async def run(user: str, *arguments: str, roles: tuple[str, ...] = ("customer",), code: int = 0) -> list[Any]:
            environment = {
                "TRADEWIND_ENDPOINT": f"127.0.0.1:{world.server.port}",
                "TRADEWIND_TOKEN": world.signer.mint(user, TENANT, roles),
            }
            done = await asyncio.to_thread(CliRunner().invoke, app, ["--json", "chat", *arguments], env=environment)
            assert done.exit_code == code, done.output
            return [json.loads(line) for line in done.stdout.splitlines()] if not code else []

        async with client(world, "ann") as ann:
            group = (await ann.chat.create_group()).conversation_id
            await ann.chat.send_message(group, "one\ntwo")
        lines = await run("ann", "export-conversation", group)
        assert [next(iter(line)) for line in lines] == ["header", "event", "event", "end"]
        file = tmp_path / "ann.jsonl"
        await run("ann", "export-person", "--to", str(file))
        told = [json.loads(line) for line in file.read_text().splitlines()]
        assert [next(iter(line)) for line in told] == ["header", "membership", "event", "event", "end"]
        assert told[3]["event"]["event"]["message"]["text"] == "one\ntwo"
        await run("root", "erase-person", "ann", roles=("admin",), code=2)
        (done,) = await run("root", "erase-person", "ann", "--yes", roles=("admin",))
        assert done["keys_destroyed"] == 1
        assert (await run("ann", "export-conversation", group))[2]["event"]["event"]["message"] == {"erased": True}
