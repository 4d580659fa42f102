"""The two clocks of the ledger, together, so that a simulation can put its own in their place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def _wall_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Clock:
    """Where time comes from.

    Attributes:
        monotonic: seconds that only rise; every rule of the protocol that speaks of time uses it.
        wall_us: microseconds since 1970; only names lives of the log and judges how far ahead a request id is dated.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall_us: Callable[[], int] = _wall_us


SYSTEM = Clock()
"""The machine's clocks."""
