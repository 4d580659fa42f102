"""Whispers: words between the processes of Chat that are never stored, and may be lost.

A whisper tells whoever listens right now that something is worth a look: somebody types, is there, has read on, is in another
conversation. It goes over core NATS, at most once and to nobody where nobody listens; who must not miss what it was about looks there by
itself as well, from time to time. A topic is a subject of its own, so a process hears only what somebody connected to it asked for.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

MOST_BYTES: Final = 16 * 1024
"""What one whisper may hold."""
_PREFIX: Final = "tradewind.chat.whisper"
_MOST_WAITING: Final = 1024
_FLUSH_SECONDS: Final = 2
_log = structlog.get_logger(__name__)

Hear = Callable[[bytes], None]
"""Takes a whisper's bytes. Called on the event loop; must neither wait nor raise."""


@dataclass(eq=False, slots=True)
class Listener:
    """Somebody who listens to a topic, until it is told to stop."""

    subject: str
    hear: Hear


@dataclass(slots=True)
class _Counts:
    """Words so far. ``dropped``: on subscriptions that are no more."""

    said: int = 0
    heard: int = 0
    lost: int = 0
    dropped: int = 0


@dataclass(eq=False, slots=True)
class _Topic:
    """Everybody of this process who listens to a topic, on one subscription."""

    counts: _Counts
    heard_here: int = 0
    listeners: list[Listener] = field(default_factory=list)
    subscription: Subscription | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def dropped(self) -> int:
        """How many words came and were not handed on, as too many waited."""
        taken = self.subscription
        return max(0, taken.delivered - self.heard_here - taken.pending_msgs) if taken is not None else 0

    async def heard(self, message: Msg) -> None:
        self.heard_here += 1
        self.counts.heard += 1
        for listener in tuple(self.listeners):
            listener.hear(message.data)


class Whispers:
    """Says and hears whispers of Chat's processes.

    Args:
        client: the process's connection to NATS.
    """

    def __init__(self, client: Client) -> None:
        """Whisper over a connection."""
        self._client = client
        self._topics: dict[str, _Topic] = {}
        self._counts = _Counts()

    @property
    def counts(self) -> Mapping[str, int]:
        """Words that were said, heard, lost as NATS could not take them, and dropped as this process was behind."""
        counts = self._counts
        dropped = counts.dropped + sum(topic.dropped for topic in tuple(self._topics.values()))
        return {"said": counts.said, "heard": counts.heard, "lost": counts.lost, "dropped": dropped}

    async def say(self, tenant: str, topic: str, data: bytes = b"") -> None:
        """Tell whoever listens to a topic of a tenant now; where that cannot be, it is not told. Raises ValueError for too large a word."""
        if len(data) > MOST_BYTES:
            raise ValueError(f"a whisper holds at most {MOST_BYTES} bytes")
        try:
            await self._client.publish(_subject(tenant, topic), data)
            self._counts.said += 1
        except NatsError as error:
            self._counts.lost += 1
            _log.info("whisper_lost", error=type(error).__name__)

    async def listen(self, tenant: str, topic: str, hear: Hear) -> Listener:
        """Hear a topic of a tenant from now on, until ``leave``. Raises nats.errors.Error where the connection is closed."""
        listener = Listener(_subject(tenant, topic), hear)
        known = self._topics.setdefault(listener.subject, _Topic(self._counts))
        known.listeners.append(listener)
        try:
            async with known.changing:
                if known.subscription is None:
                    known.subscription = await self._client.subscribe(
                        listener.subject, cb=known.heard, pending_msgs_limit=_MOST_WAITING
                    )
        except BaseException:
            await self.leave(listener)
            raise
        return listener

    async def listened(self) -> None:
        """Wait until NATS knows all that this process listens to: what is said from then on is heard. Raises nats.errors.Error."""
        # The client's ping overtakes what it has not written yet; the second one comes after that.
        await self._client.flush(_FLUSH_SECONDS)
        await self._client.flush(_FLUSH_SECONDS)

    async def leave(self, listener: Listener) -> None:
        """Hear it no more; again changes nothing."""
        known = self._topics.get(listener.subject)
        if known is None or listener not in known.listeners:
            return
        known.listeners.remove(listener)
        async with known.changing:
            if known.listeners or self._topics.get(listener.subject) is not known:
                return
            del self._topics[listener.subject]
            self._counts.dropped += known.dropped
            if known.subscription is not None and not self._client.is_closed:
                await known.subscription.unsubscribe()


def _subject(tenant: str, topic: str) -> str:
    """Name a topic on NATS: both parts as base64url (RFC 4648), so that no character in them means anything."""
    return ".".join(
        (_PREFIX, *(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in (tenant, topic)))
    )
