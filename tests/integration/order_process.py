"""Order and the payment simulator as processes of their own, to be killed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from services.runtime.tokens import Signer
from tests.integration.order_world import TENANT, User, keys_in, new_channel
from tests.ports import free_port

START_SECONDS = 60.0


class ServiceProcess:
    """One service, ``python -m``; started again it listens where it did before."""

    def __init__(self, module: str, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self._module = module
        self._signer = Signer.from_file(keys_in(folder)["service_key_file"])
        self._settings = {
            "auth_public_key_files": str(folder / "key.pub"),
            "service_key_file": str(folder / "key.pem"),
            "store_file": str(folder / f"{module}.db"),
            "rate_limit": "0",
            "tenant_rate_limit": "0",
            "user_message_rate": "0",
            "conversation_message_rate": "0",
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._channels: list[Any] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start, and wait until it listens."""
        environment = {f"TRADEWIND_{name.upper()}": value for name, value in self._settings.items()}
        environment["TRADEWIND_LISTEN"] = self.address
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, stderr=asyncio.subprocess.PIPE, env={**os.environ, **environment}
        )
        listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(_read(self._process, listening))
        async with asyncio.timeout(START_SECONDS):
            await listening

    async def kill(self) -> None:
        """End it as a power cut would."""
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
        self._process = None

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
        await self.kill()

    def user(self, user_id: str, *roles: str) -> User:
        """Let somebody in."""
        channel = new_channel(self.port)
        self._channels.append(channel)
        return User(channel, self._signer.mint(user_id, TENANT, roles or ("customer",)))


async def _read(process: asyncio.subprocess.Process, listening: asyncio.Future[int]) -> None:
    """Read what the process says until it ends: a full pipe would stop it."""
    said: list[str] = []
    assert process.stderr is not None
    async for raw in process.stderr:
        line = raw.decode()
        said = [*said[-20:], line]
        if not listening.done() and "server_listening" in line:
            listening.set_result(json.loads(line)["port"])
    if not listening.done():
        listening.set_exception(RuntimeError("the process ended: " + "".join(said)))
