"""How many processes of Mail there are, so that together they are as polite to a domain as one would be.

Each says on core NATS that it is there. Only politeness depends on it: who is not heard for a moment is not counted for a moment.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

SUBJECT: Final = "mail.peers"
EVERY: Final = 1.0
FORGOTTEN_AFTER: Final = 3.5
_MOST: Final = 1000
_GONE: Final = b"-"
_HERE: Final = b"+"
_log = structlog.get_logger(__name__)


class Peers:
    """The processes that are there, this one among them."""

    def __init__(self, nats: Client, every: float = EVERY) -> None:
        """Speak and listen on ``nats``; say so ``every`` so many seconds."""
        self._nats = nats
        self._every = every
        self._name = uuid.uuid4().hex.encode()
        self._heard: dict[bytes, float] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        old = asyncio.get_running_loop().time() - FORGOTTEN_AFTER * self._every / EVERY
        for name in [name for name, at in self._heard.items() if at < old]:
            del self._heard[name]
        return 1 + len(self._heard)

    def share(self, whole: int) -> int:
        """Give this process's part of what all may do together; at least one."""
        return math.ceil(whole / self.count)

    async def open(self) -> None:
        """Begin to listen and to say that this process is there."""
        await self._nats.subscribe(SUBJECT, cb=self._hear)
        self._task = asyncio.create_task(self._say_again_and_again(), name="mail-peers")

    async def close(self) -> None:
        """Say that this process is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._say(_GONE)

    async def _say_again_and_again(self) -> None:
        while True:
            await self._say(_HERE)
            await asyncio.sleep(self._every)

    async def _say(self, what: bytes) -> None:
        try:
            await self._nats.publish(SUBJECT, what + self._name)
        except NatsError as error:
            _log.info("peers_not_told", error=type(error).__name__)

    async def _hear(self, message: Msg) -> None:
        what, name = message.data[:1], message.data[1:]
        if name == self._name:
            return
        if what == _GONE:
            self._heard.pop(name, None)
            return
        if name not in self._heard and len(self._heard) < _MOST:
            self._heard[name] = 0.0
            await self._say(_HERE)  # who is new need not wait to know of this one
        if name in self._heard:
            self._heard[name] = asyncio.get_running_loop().time()
