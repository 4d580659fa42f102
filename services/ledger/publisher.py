"""Publishes to JetStream and awaits acknowledgements with one wildcard inbox and one dict of futures.

A request per publish, as the client library does it, costs three times as much; a future that is never answered would stay for
ever, so a sweep ends those that are over time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.ledger.errors import FenceLost, LogUnavailable, TooLarge

_SWEEP = 0.25
_HEADERS = 512
_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})


class Publisher:
    """One connection's way to publish with acknowledgement.

    Args:
        nats: the connection.
        timeout: seconds after which an acknowledgement counts as lost (the message may still land).
        window: most publishes under way at once.
    """

    def __init__(self, nats: Client, *, timeout: float = 2.0, window: int = 2000) -> None:
        self._nats = nats
        self._timeout = timeout
        self._window = asyncio.Semaphore(window)
        self._inbox = nats.new_inbox()
        self._waiting: dict[str, tuple[asyncio.Future[int], float]] = {}
        self._next = 0
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribes to the inbox of acknowledgements."""
        await self._nats.subscribe(self._inbox + ".*", cb=self._answered)
        self._sweeper = asyncio.create_task(self._sweep(), name="publisher-sweep")

    async def close(self) -> None:
        """Gives up what is still waiting."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(LogUnavailable("the process is ending"))
        self._waiting.clear()

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> int:
        """Publishes and answers the message's sequence in its stream.

        Raises:
            FenceLost: the expected last sequence is not the subject's last one.
            TooLarge: the log's server takes no message of this size.
            LogUnavailable: not sent, refused, or not acknowledged in time; in the last case it may still land.
        """
        if not self._nats.is_connected:
            raise LogUnavailable("no connection to the log")
        if len(payload) > self._nats.max_payload - _HEADERS:
            raise TooLarge("what one command writes is larger than the log takes in one message")
        async with self._window:
            self._next += 1
            token = str(self._next)
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._waiting[token] = (future, time.monotonic() + self._timeout)
            try:
                await self._nats.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=dict(headers))
                return await future
            except NatsError as error:
                raise LogUnavailable(f"the log took no message: {type(error).__name__}") from error
            finally:
                self._waiting.pop(token, None)

    async def _answered(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None or waiting[0].done():
            return
        future = waiting[0]
        if not message.data:  # status 503: no stream takes this subject
            future.set_exception(LogUnavailable("no stream takes this subject: the log is down or lost"))
            return
        answer = json.loads(message.data)
        error = answer.get("error")
        if error is None:
            future.set_result(int(answer["seq"]))
        elif error.get("err_code") in _WRONG_LAST_SEQUENCE:
            future.set_exception(FenceLost())
        else:
            future.set_exception(LogUnavailable(f"the log refused a message: {error.get('err_code')}"))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            now = time.monotonic()
            for future, until in list(self._waiting.values()):
                if until <= now and not future.done():
                    future.set_exception(LogUnavailable("the log did not acknowledge in time"))
