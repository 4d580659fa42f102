"""Who is turned away by a service's own rule: one place for all its rpcs, asked when a call comes in and while a stream is open."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final, Protocol

from services.runtime.call import Call

_AGAIN: Final = 1.0
"""Seconds that a stream is given to end, and to tell its client why."""


class Cut:
    """Ends a stream for a reason. Called from anywhere on the event loop, best until the stream has ended; the first reason stands.

    One cancellation may be lost: up to Python 3.11 ``asyncio.wait_for`` swallows one that comes together with the result.
    """

    __slots__ = ("_at", "_task", "refusal")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        """Cut off what ``task`` serves."""
        self.refusal: Exception | None = None
        self._task = task
        self._at = -math.inf

    def __call__(self, refusal: Exception) -> None:
        """End it; ``refusal`` (with a ``reason``) is what its client is told."""
        if self._task is None or monotonic() - self._at < _AGAIN:
            return
        self._at = monotonic()
        self.refusal = self.refusal or refusal
        self._task.cancel()


class Admission(Protocol):
    """A service's rule."""

    def check(self, call: Call) -> Awaitable[None] | None:
        """Raise a refusal (with a ``reason``) for who may not call; or give what is to be awaited first, which may raise one."""

    def hold(self, call: Call, cut: Cut) -> Callable[[], None]:
        """Remember an open stream, so that it can be cut; gives what forgets it."""
