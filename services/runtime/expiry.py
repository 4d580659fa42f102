"""A stream lives no longer than the token it was opened with: who may no longer call may no longer listen either."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final

_LOOK_AGAIN_S: Final = 3600.0
_CANCEL_AGAIN_S: Final = 1.0


class Expiry:
    """Cancels a task when a token is taken no more, and then says so by ``passed``. Make it inside a running loop; ``stop`` it."""

    __slots__ = ("_clock", "_loop", "_task", "_timer", "_until", "passed")

    def __init__(self, until: float, task: asyncio.Task[Any] | None, clock: Callable[[], float] = time.time) -> None:
        """Watch over ``task`` until ``until``, in seconds since the epoch on ``clock``; for ever where that is infinite."""
        self.passed = False
        self._until = until
        self._task = task
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        if task is not None and not math.isinf(until):
            self._look()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        left = self._until - self._clock()
        if left > 0:
            # Looked at again each hour: clocks are set and machines sleep, which the loop's time does not tell.
            self._timer = self._loop.call_later(min(left, _LOOK_AGAIN_S), self._look)
        elif self._task is not None:
            self.passed = True
            self._task.cancel()
            # One cancellation may be lost: up to Python 3.11 ``asyncio.wait_for`` swallows one that comes together with the result.
            self._timer = self._loop.call_later(_CANCEL_AGAIN_S, self._look)
