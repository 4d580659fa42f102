"""Rates per caller: token buckets, as many as there is room for, the least recently used forgotten first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class RateLimiter:
    """Token buckets by key. A bucket holds ``burst`` tokens and gains ``rate`` a second; a rate of 0 means no limit."""

    def __init__(self, rate: float, burst: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a limiter of at most ``capacity`` buckets on a monotonic clock in seconds."""
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._capacity = capacity
        self._clock = clock
        self._buckets: OrderedDict[Hashable, list[float]] = OrderedDict()

    def take(self, key: Hashable, count: int = 1) -> float:
        """Take ``count`` tokens and give 0.0, or take none and give the seconds after which to ask again.

        A count above the burst passes once the bucket is full and leaves it in debt, so that big frames are slowed but not impossible.
        """
        if self._rate <= 0:
            return 0.0
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = [self._burst, now]
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            bucket[0] = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
            bucket[1] = now
        needed = min(float(count), self._burst)
        if bucket[0] < needed:
            return (needed - bucket[0]) / self._rate
        bucket[0] -= count
        return 0.0
