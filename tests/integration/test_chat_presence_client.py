"""The client's presence and typing, on a whole Chat service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tradewind.chat.v1 import presence_service_pb2 as pb
from tradewind.cli.__main__ import app
from tradewind.sdk import Client, PermissionDenied, RetryPolicy, SubscriptionEnded
from typer.testing import CliRunner

from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.integration.presence_world import AWAY, BEAT, OFFLINE, ONLINE, services
from tests.ports import free_port
from tests.servers import NatsServer

FAST = RetryPolicy(first_wait=0.02, longest_wait=0.2)


def token(world: ChatWorld, user_id: str) -> str:
    return world.signer.mint(user_id, TENANT, ["customer"])


def client(world: ChatWorld, user_id: str) -> Client:
    return Client(f"127.0.0.1:{world.server.port}", token(world, user_id), retry=FAST)


async def test_a_lease_lasts_as_long_as_its_block(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        services(own_nats_server.url, tmp_path) as (here, there),
        client(here, "ada") as ada,
        client(there, "bob") as bob,
    ):
        watch = bob.presence.watch(["cy"])
        seen: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

        async def listen() -> None:
            async for presence in watch:
                seen.put_nowait((presence.user_id, presence.state))

        listening = asyncio.create_task(listen())
        assert await asyncio.wait_for(seen.get(), 60) == ("cy", OFFLINE)
        watch.add(["ada"])
        assert await asyncio.wait_for(seen.get(), 60) == ("ada", OFFLINE)
        async with ada.presence.online("phone") as lease:
            assert await asyncio.wait_for(seen.get(), 60) == ("ada", ONLINE)
            await lease.set_away()
            assert await asyncio.wait_for(seen.get(), 60) == ("ada", AWAY)
            assert [each.state for each in await bob.presence.get(["ada", "cy"])] == [AWAY, OFFLINE]
        assert await asyncio.wait_for(seen.get(), 60) == ("ada", OFFLINE)
        assert watch.now["ada"].last_seen_time.seconds
        watch.remove(["ada"])
        assert set(watch.now) == {"cy"}
        listening.cancel()
        await asyncio.wait([listening])


async def test_watchers_go_on_when_their_server_comes_again(own_nats_server: NatsServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"presence_beat": BEAT, "reconnect_spread": 0.01, "listen": f"127.0.0.1:{free_port()}"}
    async with chat_world(own_nats_server.url, tmp_path, **options) as first:
        port, tokens = first.server.port, {"bob": token(first, "bob")}
        group = await first.user("ada").create_group("bob")
        bob = Client(f"127.0.0.1:{port}", lambda: tokens["bob"], retry=FAST)
        watch, typing = bob.presence.watch(["ada"]), bob.presence.watch_typing([group.conversation_id])
        states, typists = aiter(watch), aiter(typing)
        assert (await anext(states)).state == OFFLINE
        hearing = asyncio.ensure_future(anext(typists))
        next_state = asyncio.ensure_future(anext(states))
    async with (
        bob,
        chat_world(own_nats_server.url, tmp_path, **options) as second,
        client(second, "ada") as ada,
    ):
        tokens["bob"] = token(second, "bob")
        await ada.presence.report("phone", ONLINE)
        while (await asyncio.wait_for(next_state, 60)).state != ONLINE:  # unknown at first, where it took long
            next_state = asyncio.ensure_future(anext(states))
        while not hearing.done():
            await ada.presence.set_typing(group.conversation_id)
            await asyncio.wait([hearing], timeout=0.2)
        said = hearing.result()
        assert isinstance(said, pb.Typing)
        assert list(said.user_ids) == ["ada"]
        await ada.chat.remove_members(group.conversation_id, ["bob"])
        await ada.presence.set_typing(group.conversation_id, stopped=True)
        ended = await asyncio.wait_for(anext(typists), 60)
        assert isinstance(ended, SubscriptionEnded)
        assert isinstance(ended.__cause__, PermissionDenied)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(typists), 60)
        await states.aclose()


async def test_the_command_line_tells_who_is_there(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path, 1) as (here,), client(here, "ada") as ada:
        group = await here.user("ada").create_group("bob")
        environment = {"TRADEWIND_ENDPOINT": f"127.0.0.1:{here.server.port}", "TRADEWIND_TOKEN": token(here, "bob")}

        async def say(*arguments: str) -> list[dict[str, object]]:
            done = await asyncio.to_thread(CliRunner().invoke, app, ["--json", "chat", *arguments], env=environment)
            assert done.exit_code == 0, done.output
            return [json.loads(line) for line in done.stdout.splitlines()]

        async with ada.presence.online(away=True):
            (seen, nobody) = await say("presence", "ada", "cy")
            assert (seen["user_id"], seen["state"]) == ("ada", "PRESENCE_STATE_AWAY")
            assert (nobody["user_id"], nobody["state"]) == ("cy", "PRESENCE_STATE_OFFLINE")
        assert await say("typing", group.conversation_id) == [{"lasts": 6.0}]
        assert await say("typing", group.conversation_id, "--stopped") == [{"lasts": 0.0}]


async def test_online_lasts_until_ctrl_c(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path, 1) as (here,), client(here, "bob") as bob:
        environment = {"TRADEWIND_ENDPOINT": f"127.0.0.1:{here.server.port}", "TRADEWIND_TOKEN": token(here, "ada")}
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tradewind.cli", "--json", "chat", "online", "--away", "--device", "laptop"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
        )
        assert program.stdout is not None
        said = json.loads(await asyncio.wait_for(program.stdout.readline(), 60))
        assert said == {"device_id": "laptop", "state": "away"}
        assert (await bob.presence.get(["ada"]))[0].state == AWAY
        program.send_signal(signal.SIGINT)
        await asyncio.wait_for(program.wait(), 60)
        assert (await bob.presence.get(["ada"]))[0].state == OFFLINE
