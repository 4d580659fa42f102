"""Who is turned away by a service's own rule: one place for all its rpcs, asked when a call comes in and while a stream is open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from services.runtime.call import Call


class Cut:
    """Ends a stream for a reason. Called from anywhere on the event loop; the first reason stands."""

    __slots__ = ("_task", "refusal")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        """Cut off what ``task`` serves."""
        self.refusal: Exception | None = None
        self._task = task

    def __call__(self, refusal: Exception) -> None:
        """End it; ``refusal`` (with a ``reason``) is what its client is told."""
        if self.refusal is None and self._task is not None:
            self.refusal = refusal
            self._task.cancel()


class Admission(Protocol):
    """A service's rule."""

    def check(self, call: Call) -> Awaitable[None] | None:
        """Raise a refusal (with a ``reason``) for who may not call; or give what is to be awaited first, which may raise one."""

    def hold(self, call: Call, cut: Cut) -> Callable[[], None]:
        """Remember an open stream, so that it can be cut; gives what forgets it."""
