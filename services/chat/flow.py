"""How fast and how often the server speaks on a Converse stream: credit for deliveries, and heartbeats where nothing else is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, wire
from services.chat.domain import Refused
from services.ledger.cursor import Frame

_SILENT_FOR: Final = 3
"""Heartbeats that a client may leave out."""


class Flow:
    """What a client asked of one stream. One that asked nothing costs nothing.

    Args:
        speak: takes a heartbeat, encoded as a field of ConverseResponse, to be sent.
        wake: makes the stream look whether it may deliver, or is over.
    """

    __slots__ = ("_credit", "_every", "_heard", "_listens", "_loop", "_said", "_speak", "_timer", "_wake", "failure")

    def __init__(self, speak: Callable[[bytes], None], wake: Callable[[], None]) -> None:
        """Begin without limit and without heartbeats."""
        self._speak = speak
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._credit: int | None = None
        self._every = 0.0
        self._heard = self._said = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._listens = True
        self.failure: Refused | None = None
        """Why the stream must end, once the client has been silent for too long."""

    def ask(self, wanted: pb.Flow) -> None:
        """Do as a client asks from now on."""
        if wanted.credit:
            self._credit = (self._credit or 0) + wanted.credit
            self._wake()
        if wanted.heartbeat_seconds:
            self._every = float(wanted.heartbeat_seconds)
            self._heard = self._said = self._loop.time()
            self._set()

    @property
    def holds(self) -> bool:
        """Whether nothing may be delivered now."""
        return self._credit is not None and self._credit <= 0

    def delivered(self, frame: Frame) -> None:
        """Count what was delivered."""
        if self._credit is not None:
            self._credit -= frame.last - frame.first + 1

    def heard(self, *, listens: bool) -> None:
        """Note that the client is there, and whether it is listened to: while it is not, it cannot be silent."""
        self._listens = listens
        if self._every:
            self._heard = self._loop.time()

    def said(self) -> None:
        """Note that something is sent to the client."""
        if self._every:
            self._said = self._loop.time()

    def close(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self) -> None:
        self.close()
        self._timer = self._loop.call_at(self._said + self._every, self._due)

    def _due(self) -> None:
        now = self._loop.time()
        if self._listens and now - self._heard > _SILENT_FOR * self._every:
            self.failure = Refused("DEADLINE_EXCEEDED", "the client said nothing for three heartbeats")
            self._wake()
            return
        if now - self._said >= self._every:
            # Said when it is handed over, not when it is sent: a client that does not read is not told again and again.
            self._said = now
            self._speak(_heartbeat())
        self._set()


def _heartbeat() -> bytes:
    return pb.ConverseResponse(heartbeat=pb.Heartbeat(time=wire.timestamp(commands.now_us()))).SerializeToString()
