"""One limit over many processes: each tells the others what it let through, a few times a second, over core NATS.

Every process keeps whole buckets and takes out of them what the others say they took. So a call never waits for the network, and all
together give a caller its rate: what was let through before the word of it arrived is debt, which is worked off before anything more is
let through. Beyond the limit there can be, at any time, no more than what the other processes let through within one interval and the way
of a message: at most (processes - 1) x (burst + rate x that time), after a pause of the caller, and not again before it is worked off.

A process that does not hear its own word any more is cut off: it then allows an equal part of each limit, one of as many processes as it
last knew, until it hears itself again. See docs/adr/0017-limits-are-told.md.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from tradewind.limits.v1 import taken_pb2

from services.runtime.limits import RateLimiter

EVERY_S: Final = 0.25
"""Between two words of a process."""
_CUT_OFF_AFTER: Final = 6
_GONE_AFTER: Final = 12
"""Words of its own, or of another, that a process misses before it takes itself, or it, as away."""
_MOST_BUCKETS: Final = 4096
_BUCKETS_A_MESSAGE: Final = 1024
_log = structlog.get_logger(__name__)


class Sharing:
    """Shares the limits of one process with the other processes of its service. ``start`` it in a running loop, and ``close`` it."""

    def __init__(
        self,
        client: Client,
        service: str,
        limiters: Iterable[RateLimiter],
        *,
        every: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Share ``limiters`` over ``client`` with all processes of ``service``, each ``every`` seconds."""
        self._client = client
        self._subject = f"tradewind.limits.{service}"
        self._limiters: dict[str, RateLimiter] = {}
        self.add(limiters)
        self._every = every
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._others: dict[str, float] = {}
        self._heard_myself = clock()
        self._alone = False
        self._task: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None

    def add(self, limiters: Iterable[RateLimiter]) -> None:
        """Share these too."""
        for limiter in limiters:
            self._limiters[limiter.name] = limiter
            limiter.share()

    @property
    def processes(self) -> int:
        """How many processes share, this one included; while cut off, how many last did."""
        return 1 + len(self._others)

    @property
    def cut_off(self) -> bool:
        """Tell whether the others cannot be heard, and this process allows only its part."""
        return self._alone

    async def start(self) -> None:
        """Begin. Raises nats.errors.Error where the connection is closed."""
        self._heard_myself = self._clock()
        self._subscription = await self._client.subscribe(self._subject, cb=self._hear)
        self._task = asyncio.create_task(self._run(), name="limits-shared")

    async def close(self) -> None:
        """Take leave."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        try:
            if self._client.is_connected:
                await self._say(taken_pb2.Taken(process=self._process, leaving=True))
            if self._subscription is not None:
                await self._subscription.unsubscribe()
        except NatsError as error:
            _log.info("limits_leave_unsaid", error=type(error).__name__)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self._turn()
            except Exception:  # noqa: BLE001 - whatever it is, the limits of this process must not stay untold for good
                _log.error("limits_turn_failed", exc_info=True)

    async def _turn(self) -> None:
        self._judge()
        for word in self._words():
            # What was taken while cut off stays untold: the part that was allowed was this process's own.
            if self._client.is_connected and not self._alone:
                await self._tell(word)
        if self._alone and self._client.is_connected:
            await self._tell(taken_pb2.Taken(process=self._process))

    async def _tell(self, word: taken_pb2.Taken) -> None:
        try:
            await self._say(word)
        except NatsError as error:
            _log.info("limits_untold", error=type(error).__name__)

    async def _say(self, word: taken_pb2.Taken) -> None:
        await self._client.publish(self._subject, word.SerializeToString())

    def _words(self) -> Iterator[taken_pb2.Taken]:
        """Give what this process took, in messages of bounded size; one even where it took nothing, as a sign of life."""
        word, size = taken_pb2.Taken(process=self._process), 0
        for name, limiter in tuple(self._limiters.items()):
            of_limit = None
            for key, tokens in limiter.taken(_MOST_BUCKETS):
                if size >= _BUCKETS_A_MESSAGE:
                    yield word
                    word, size, of_limit = taken_pb2.Taken(process=self._process), 0, None
                if of_limit is None:
                    of_limit = word.limits.add(limit=name)
                of_limit.buckets.add(key=key, tokens=tokens)
                size += 1
        yield word

    async def _hear(self, message: Msg) -> None:
        word = taken_pb2.Taken.FromString(message.data)
        if word.process == self._process:
            self._heard_myself = self._clock()
            return
        if word.leaving:
            self._others.pop(word.process, None)
            return
        self._others[word.process] = self._clock()
        for of_limit in word.limits:
            limiter = self._limiters.get(of_limit.limit)
            if limiter is not None:
                limiter.heard((tuple(bucket.key), bucket.tokens) for bucket in of_limit.buckets)

    def _judge(self) -> None:
        """Find out whether this process is cut off, and, while it is not, who else is there."""
        now = self._clock()
        alone = now - self._heard_myself > _CUT_OFF_AFTER * self._every
        if not alone and not self._alone:
            gone = [name for name, heard in self._others.items() if now - heard > _GONE_AFTER * self._every]
            for name in gone:
                del self._others[name]
        if alone == self._alone:
            return
        self._alone = alone
        if not alone:
            # Nobody was heard meanwhile; each gets the time to be heard again.
            self._others = dict.fromkeys(self._others, now)
        for limiter in self._limiters.values():
            limiter.part(self.processes if alone else 1)
        _log.warning("limits_cut_off" if alone else "limits_shared_again", processes=self.processes)
