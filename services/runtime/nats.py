"""The connection to NATS: it reconnects for ever, holds back a bounded amount meanwhile, and says in the log how it fares."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Coroutine
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client

from services.runtime.config import RuntimeSettings
from services.runtime.nkeys import credentials

_PENDING_BYTES: Final = 8 * 1024 * 1024
_RECONNECT_WAIT_S: Final = (0.1, 0.4)
# A server that hangs, or is behind a cut cable, is left after six seconds: about as long as it takes the others to elect a leader.
_PING_INTERVAL_S: Final = 2
_QUIET_S: Final = 5.0
_MOST_REASON: Final = 200


async def connect(settings: RuntimeSettings, name: str) -> Client:
    """Connect as ``name``; waits for as long as no server answers. What is published while disconnected waits in 8 MB at most,
    beyond which publishing raises ``nats.errors.OutboundBufferLimitError``; what was not sent when the connection broke is not sent.
    """
    client = _Client()
    voice = _Voice(name)
    options: dict[str, Any] = {}
    if settings.nats_ca_file is not None:
        options["tls"] = await asyncio.to_thread(_tls, settings)
    if settings.nats_creds_file is not None:
        options["user_jwt_cb"], options["signature_cb"] = await asyncio.to_thread(credentials, settings.nats_creds_file)
    await client.connect(
        [url.get_secret_value() for url in settings.nats_urls],
        name=name,
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        # Servers that lost the same NATS node come back spread in time.
        reconnect_time_wait=random.uniform(*_RECONNECT_WAIT_S),  # type: ignore[arg-type]
        connect_timeout=2,
        ping_interval=_PING_INTERVAL_S,
        max_outstanding_pings=2,
        pending_size=_PENDING_BYTES,
        error_cb=voice.error,
        disconnected_cb=voice.disconnected,
        reconnected_cb=voice.reconnected,
        closed_cb=voice.closed,
        **options,
    )
    return client


class _Client(Client):
    """The library's client, which sends nothing on one connection that was meant for the one before, and whose reading does not end where
    somebody no longer waits for a ping's answer.
    """

    def _attempt_reconnect(self) -> Coroutine[Any, Any, None]:
        # What was not sent would be sent on the next connection: an append, into a log that may have lost its end and that nobody has
        # looked at since. For everything else it is as if it had been on its way. Not within the coroutine: what is published before its
        # first step was published while disconnected.
        self._pending, self._pending_data_size = [], 0
        return super()._attempt_reconnect()

    async def _process_pong(self) -> None:
        # Whoever flushes may be cancelled, as by a stream whose client leaves, or lose patience. The library would then set the result of
        # a future that is done, stop reading for that error, and be deaf until its own pings are overdue.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


class _Voice:
    """Turns the client's callbacks into log lines; repeated errors into one line in five seconds."""

    def __init__(self, name: str) -> None:
        self._log = structlog.get_logger().bind(connection=name)
        self._quiet_until = 0.0
        self._held = 0

    async def error(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            self._held += 1
            return
        slow = isinstance(error, nats.errors.SlowConsumerError)
        self._log.warning(
            "nats_slow_consumer" if slow else "nats_error",
            error=type(error).__name__,
            reason=_reason(error),
            held_back=self._held,
        )
        self._quiet_until = now + _QUIET_S
        self._held = 0

    async def disconnected(self) -> None:
        self._log.warning("nats_disconnected")

    async def reconnected(self) -> None:
        self._quiet_until = 0.0
        self._log.info("nats_reconnected")

    async def closed(self) -> None:
        self._log.info("nats_closed")


def _reason(error: Exception) -> str:
    """Give what an operator needs, such as a wrong secret or no such host; not what is quoted: a subject may name a person."""
    return str(error).partition('"')[0].rstrip()[:_MOST_REASON]


def _tls(settings: RuntimeSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(settings.nats_ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.nats_cert_file is not None and settings.nats_key_file is not None:
        context.load_cert_chain(settings.nats_cert_file, settings.nats_key_file)
    return context
