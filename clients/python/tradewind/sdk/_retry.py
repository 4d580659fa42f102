"""When to try again, and how long to wait before."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tradewind.sdk._errors import DeadlineExceeded, TradewindError, Transient

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient the client is with what is Transient.

    A call is tried at most `attempts` times within its deadline. The wait before the n-th repeat is `first_wait * 2**(n-1)` seconds, at
    most `longest_wait`, of which a random half keeps callers apart; it is never shorter than what the server asked for. A stream
    connects again until nothing was heard for `stream_patience` seconds.
    """

    attempts: int = 12
    first_wait: float = 0.05
    longest_wait: float = 2.0
    stream_patience: float = 60.0

    def wait(self, failures: int, error: TradewindError | None = None) -> float:
        """Seconds to wait after so many failures in a row."""
        backoff = min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 30))
        if error is None or error.retry_after is None:
            return backoff * random.uniform(0.5, 1.0)
        # A crowd that was told the same time must not come back as one.
        return max(backoff, error.retry_after) * random.uniform(1.0, 1.25)


async def retrying(attempt: Callable[[float], Awaitable[T]], policy: RetryPolicy, timeout: float) -> T:
    """Call `attempt(seconds left)` until it succeeds, is refused, or `timeout` seconds or the policy's attempts are used up.

    Raises what the last attempt raised; DeadlineExceeded where the time was over before the first one began.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout
    failures = 0
    while True:
        left = until - loop.time()
        if left <= 0:
            raise DeadlineExceeded("no time was left for the call", reason="DEADLINE_EXCEEDED")
        try:
            return await attempt(left)
        except Transient as error:
            failures += 1
            wait = policy.wait(failures, error)
            if failures >= policy.attempts or loop.time() + wait >= until:
                raise
        await asyncio.sleep(wait)
