"""Turns: a bounded number of mails under way to each domain, in each lane, so that a slow domain holds up only itself."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.mail.domain import Lane
from services.mail.smtp.pool import Busy

MOST_HERE = 2048
"""Above so many mails in memory, domains that have many of them get no more."""


MOST_QUEUES = 10_000
"""Domains whose pace is remembered."""
SOONEST, LATEST = 1.0, 1800.0
"""Who is put off comes back within these bounds, in seconds."""
_FIRST_PACE = 0.005
# A domain is believed to be quicker at once, and slower only after it was so for half a minute: a turn left empty costs more than
# a mail that is put off twice.
_QUICKER = 0.1
_SLOWER_SECONDS = 30.0
_OPTIMISM = 0.5


class _Turns:
    """So many at a time as ``most`` says just then; the others in the order they came."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._on = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        if not self._waiting and self._on < self._most():
            self._on += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it came in the moment in which nobody wanted it any more
            raise

    def release(self) -> None:
        self._on -= 1
        while self._waiting and self._on < self._most():
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._on += 1


@dataclass(slots=True)
class _Queue:
    """One domain in one lane.

    ``pace`` is the seconds from one mail's end to the next one's while several are here; ``booked`` the time, in the loop's, up to which
    those here and those put off have their turns.
    """

    turns: _Turns
    users: int = 0
    pace: float = _FIRST_PACE
    last_end: float = 0.0
    booked: float = 0.0

    def ended(self, now: float) -> None:
        if self.last_end and self.users > 1:
            seconds = now - self.last_end
            weight = _QUICKER if seconds < self.pace else -math.expm1(-seconds / _SLOWER_SECONDS)
            self.pace += weight * (seconds - self.pace)
        self.last_end = now


class Lanes:
    """Who is on, and who waits. What cannot wait here waits in the log."""

    def __init__(
        self, under_way: int, waiting: int, total: int = MOST_HERE, share: Callable[[int], int] = lambda whole: whole
    ) -> None:
        """Let so many be under way to one domain in one lane, and so many more wait; once ``total`` are here, few of any one.

        ``share`` gives this process's part of what may be under way.
        """
        self._share = lambda: share(under_way)
        self._most = under_way + waiting
        self._few = min(self._most, 2 * under_way)
        self._total = total
        self._here = 0
        self._queues: dict[tuple[str, Lane], _Queue] = {}
        self._loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def turn(self, domain: str, lane: Lane, wait: float) -> AsyncIterator[None]:
        """Wait for a turn, at most so many seconds. Raises Busy."""
        queue = self._queue(domain, lane)
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
                queue.ended(self._loop.time())
        finally:
            queue.users -= 1
            self._here -= 1

    def put_off(self, domain: str, lane: Lane) -> float:
        """Give the seconds after which one who found no turn should come back: a time of its own, at the pace the domain takes mails.

        So a crowd does not come back at once, to be put off at once again.
        """
        queue, now = self._queue(domain, lane), self._loop.time()
        pace = queue.pace * _OPTIMISM
        queue.booked = max(queue.booked, now + queue.users * pace) + pace
        return min(max(queue.booked - now, SOONEST), LATEST)

    def _queue(self, domain: str, lane: Lane) -> _Queue:
        queue = self._queues.get((domain, lane))
        if queue is None:
            if len(self._queues) >= MOST_QUEUES:
                self._queues = {key: kept for key, kept in self._queues.items() if kept.users}
            queue = self._queues[domain, lane] = _Queue(_Turns(self._share))
        return queue
