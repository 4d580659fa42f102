"""Search by the client and the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tradewind.chat.v1 import search_service_pb2
from tradewind.cli.chat_search import excerpt
from tradewind.sdk import Client, InvalidArgument, RetryPolicy

from tests.integration.chat_world import TENANT, chat_world
from tests.servers import NatsServer


async def test_a_client_turns_the_pages(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, search="embedded") as world:
        token = world.signer.mint("ada", TENANT, ("customer",))
        address = f"127.0.0.1:{world.server.port}"
        async with Client(address, token, retry=RetryPolicy(longest_wait=0.2)) as ada:
            name = (await ada.chat.create_group(["bob"])).conversation_id
            said = [(await ada.chat.send_message(name, f"lunch {number}")).version for number in range(9)]

            async def found(query: str = "", **asked: object) -> list[int]:
                return [each.message.version async for each in ada.chat.search(query, page_size=4, **asked)]  # type: ignore[arg-type]

            async with asyncio.timeout(60):
                while len(await found("lunch")) < len(said):
                    await asyncio.sleep(0.01)
            assert await found("from:ada lunch", newest_first=True) == said[::-1]
            assert await found("lunch", conversations=[name], senders=["bob"]) == []
            now = datetime.now(UTC)
            assert len(await found("lunch", after=now - timedelta(hours=1), before=now + timedelta(hours=1))) == 9
            assert await found(phrases=["lunch 3"]) == [said[3]]
            with pytest.raises(InvalidArgument) as refused:
                await found("has:nothing")
            assert "has: must be one of" in str(refused.value)

        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tradewind.cli", "--json", "--endpoint", address, "--token", token),
            *("chat", "search", "from:ada lunch", "--in", name, "--newest", "--limit", "3"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        assert [json.loads(line)["message"]["version"] for line in out.splitlines()] == said[:-4:-1]


def test_an_excerpt_shows_what_was_found() -> None:
    text = "x" * 100 + " lunch\nand lunch again " + "y" * 100
    found = search_service_pb2.FoundMessage()
    found.message.content.text = text
    for start in (101, 111):
        found.highlights.add(start=start, length=5)
    shown = excerpt(found)
    assert "»lunch« and »lunch« again" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) < 100
    found.ClearField("highlights")
    assert excerpt(found).startswith("xxx")
