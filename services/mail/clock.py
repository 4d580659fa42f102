"""The server's clock."""

from __future__ import annotations

import time


def now_us() -> int:
    """Give the time in µs since the epoch."""
    return time.time_ns() // 1000
