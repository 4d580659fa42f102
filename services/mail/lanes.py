"""Turns: a bounded number of mails under way to each domain, in each lane, so that a slow domain holds up only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.mail.domain import Lane
from services.mail.smtp.pool import Busy

MOST_HERE = 2048
"""Above so many mails in memory, domains that have many of them get no more."""


@dataclass(slots=True)
class _Queue:
    turns: asyncio.Semaphore
    users: int = 0


class Lanes:
    """Who is on, and who waits. What cannot wait here waits in the log."""

    def __init__(self, under_way: int, waiting: int, total: int = MOST_HERE) -> None:
        """Let so many be under way to one domain in one lane, and so many more wait; once ``total`` are here, few of any one."""
        self._under_way = under_way
        self._most = under_way + waiting
        self._few = min(self._most, 2 * under_way)
        self._total = total
        self._here = 0
        self._queues: dict[tuple[str, Lane], _Queue] = {}

    @asynccontextmanager
    async def turn(self, domain: str, lane: Lane, wait: float) -> AsyncIterator[None]:
        """Wait for a turn, at most so many seconds. Raises Busy."""
        key = (domain, lane)
        queue = self._queues.setdefault(key, _Queue(asyncio.Semaphore(self._under_way)))
        if queue.users >= (self._few if self._here >= self._total else self._most):
            raise Busy("too many mails wait for this domain")
        queue.users += 1
        self._here += 1
        try:
            try:
                async with asyncio.timeout(wait):
                    await queue.turns.acquire()
            except TimeoutError:
                raise Busy("no turn in time") from None
            try:
                yield
            finally:
                queue.turns.release()
        finally:
            queue.users -= 1
            self._here -= 1
            if not queue.users:
                self._queues.pop(key, None)
