"""The inbox by the client and the command line: lists, flags, streams that go on at another server."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

from tradewind.sdk import Client, RetryPolicy

from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.integration.inbox_world import FAST
from tests.servers import NatsServer


def client_of(user_id: str, world: ChatWorld) -> Client:
    """A client of a server, and of whoever comes after it at its port."""
    token = world.signer.mint(user_id, TENANT, ("customer",))
    return Client(f"127.0.0.1:{world.server.port}", token, retry=RetryPolicy(longest_wait=0.2))


async def tradewind(world: ChatWorld, *arguments: str) -> list[dict[str, Any]]:
    """Run the command line as bob."""
    token = world.signer.mint("bob", TENANT, ("customer",))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tradewind.cli", "--json", "--endpoint", f"127.0.0.1:{world.server.port}"),
        *("--token", token, "chat", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return [json.loads(line) for line in out.splitlines()]


async def test_a_list_goes_on_at_the_next_server(own_nats_server: NatsServer, tmp_path: Path) -> None:
    options = {**FAST, "reconnect_spread": 0.0}
    async with AsyncExitStack() as lasting, asyncio.timeout(60):
        async with chat_world(own_nats_server.url, tmp_path, **options) as one:
            again = {**options, "signer": one.signer, "listen": f"127.0.0.1:{one.server.port}"}
            ada = await lasting.enter_async_context(client_of("ada", one))
            bob = await lasting.enter_async_context(client_of("bob", one))
            names = [(await ada.chat.create_group(["bob"])).conversation_id for _ in range(3)]
            gone = (await ada.chat.create_group(["bob"])).conversation_id
            lists = await lasting.enter_async_context(aclosing(bob.chat.watch_inbox(page_size=3)))
            told = await anext(lists)
            assert [each.conversation_id for each in told.entries] == [gone, *reversed(names[1:])]
            older = [each async for each in bob.chat.list_inbox(page_token=told.older_page_token)]
            assert [each.conversation_id for each in older] == [names[0]]
            await ada.chat.send_message(names[1], "hello", mentions=["bob"])
            while told.entries[0].conversation_id != names[1]:
                assert await anext(lists) is told
            assert told.entries[0].last_message.text == "hello"
            assert (told.totals.unread_count, told.totals.mention_count) == (1, 1)
        async with chat_world(own_nats_server.url, tmp_path, **again):
            await ada.chat.remove_members(gone, ["bob"])
            await ada.chat.send_message(names[2], "still there?")
            while told.get(gone) is not None or told.totals.unread_count != 2:
                await anext(lists)
            assert [each.conversation_id for each in told.entries][:2] == [names[2], names[1]]


async def test_flags_and_receipts_by_client_and_command_line(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        chat_world(own_nats_server.url, tmp_path, **FAST) as world,
        client_of("ada", world) as ada,
        client_of("bob", world) as bob,
        asyncio.timeout(60),
    ):
        name = (await ada.chat.create_group(["bob"], title="Lunch")).conversation_id
        sent = await ada.chat.send_message(name, "Where?", mentions=["bob"])
        assert (await bob.chat.archive_conversation(name)).archived
        assert not (await bob.chat.unarchive_conversation(name)).archived
        assert (await bob.chat.mute_notifications(name, timedelta(hours=1))).HasField("muted_until")
        assert not (await bob.chat.unmute_notifications(name)).muted
        assert (await bob.chat.hide_conversation(name)).hidden
        assert not (await bob.chat.show_conversation(name)).hidden
        assert (await bob.chat.get_unread_totals()).mention_count == 1

        async with aclosing(ada.chat.watch_receipts(name)) as states:
            assert await anext(states) == {}
            (listed,), (totals,), (archived,) = await asyncio.gather(
                tradewind(world, "inbox"), tradewind(world, "unread-totals"), tradewind(world, "archive", name)
            )
            assert (listed["title"], listed["unread_count"]) == ("Lunch", 1)
            assert listed["last_message"]["text"] == "Where?"
            assert totals["unread_count"] + totals["archived_unread_count"] == 1
            assert archived["archived"]
            shown, read, muted = await asyncio.gather(
                tradewind(world, "inbox", "--watch", "--count", "1"),
                tradewind(world, "read", name),
                tradewind(world, "mute-notifications", name),
            )
            assert shown[0]["conversation_id"] == name
            assert read[0]["count"] == 0
            assert muted[0]["muted"]
            receipts = await anext(states)
            assert receipts["bob"].read_version == sent.version
