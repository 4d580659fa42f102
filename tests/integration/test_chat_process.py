"""The Chat process itself: it serves, drains on SIGTERM, and a SIGKILL in the middle of everything costs nobody a message."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.runtime.tokens import Signer, make_key_pair
from tests.integration.chat_world import TENANT, Talk, User
from tests.servers import NatsServer

ROOT = Path(__file__).resolve().parents[2]


class ChatProcess:
    """``python -m services.chat`` on a folder, which may be killed and started again."""

    def __init__(self, nats_url: str, folder: Path) -> None:
        make_key_pair(folder / "key.pem", folder / "key.pub.pem")
        self._signer = Signer.from_file(folder / "key.pem")
        self._environment = {
            **os.environ,
            "TRADEWIND_LISTEN": "127.0.0.1:0",
            "TRADEWIND_NATS_URLS": nats_url,
            "TRADEWIND_AUTH_PUBLIC_KEY_FILES": str(folder / "key.pub.pem"),
            "TRADEWIND_STORE_FILE": str(folder / "chat.db"),
            "TRADEWIND_RATE_LIMIT": "0",
            "TRADEWIND_TENANT_RATE_LIMIT": "0",
            "TRADEWIND_USER_MESSAGE_RATE": "0",
            "TRADEWIND_CONVERSATION_MESSAGE_RATE": "0",
            "TRADEWIND_ORDER_EVENTS": "false",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "clients" / "python"))),
        }
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.chat",
            env=self._environment,
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stdin=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stderr is not None
        async with asyncio.timeout(60):
            async for line in self._process.stderr:
                told: dict[str, Any] = json.loads(line)
                if told["event"] == "server_listening":
                    self._port = told["port"]
                    return
        raise AssertionError("the process ended before it served")

    async def end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        await self._process.communicate()
        return self._process.returncode or 0

    @asynccontextmanager
    async def user(self, user_id: str) -> AsyncIterator[User]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}", options=options) as channel:
            yield User(channel, self._signer.mint(user_id, TENANT, ["customer"]), user_id)


async def test_a_killed_server_loses_nothing_that_it_answered(own_nats_server: NatsServer, tmp_path: Path) -> None:
    process = ChatProcess(own_nats_server.url, tmp_path)
    await process.start()
    async with process.user("ada") as ada:
        name = (await ada.create_group("bob")).conversation_id
    waiting: dict[str, pb.SendMessageRequest] = {}
    answered: dict[str, int] = {}
    seen: list[int] = []
    for life in range(4):
        async with process.user("ada") as ada, process.user("bob") as bob:
            new = [ada.message(name, f"{number}") for number in range(life * 200, life * 200 + 200)]
            waiting.update({said.request_id: said for said in new})
            voice, ear = ada.converse(), bob.converse()
            await ear.write(subscribe={name: seen[-1] if seen else 0})
            listening = asyncio.create_task(until_cut(ear, name, 801 - len(seen)))
            batch = list(waiting.values())
            for start in range(0, len(batch), 20):
                await voice.write(*batch[start : start + 20])
            enough = len(batch) if life == 3 else 10
            await voice.until(lambda t, n=enough: len(t.results) >= n)  # type: ignore[misc]
            if life < 3:
                await process.end(signal.SIGKILL)
            await listening
            seen += ear.versions(name)
            for request, result in voice.results.items():
                answered[request] = result.version
                waiting.pop(request)
        if life < 3:
            await process.start()
    async with process.user("bob") as bob:
        page = pb.ListMessagesRequest(conversation_id=name, oldest_first=True, page_size=500)
        messages = list((await bob.call("ListMessages", page)).messages)
        page.from_version = messages[-1].version
        messages += (await bob.call("ListMessages", page)).messages
    assert seen == list(range(1, 802))
    assert sorted(int(message.content.text) for message in messages) == list(range(800))
    assert not waiting
    assert sorted(answered.values()) == [message.version for message in messages]
    assert await process.end(signal.SIGTERM) == 0


async def until_cut(talk: Talk, name: str, count: int) -> None:
    """Read a stream until it gave so many events, or its server died."""
    try:
        await talk.until(lambda t: len(t.versions(name)) >= count)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
