"""Rates: token buckets, as many as there is room for, the least recently used forgotten first.

Each limit is a set of buckets by key, such as one for each caller. What a process takes out of its own buckets it can tell the others of
the service, and hear from them; see ``sharing``.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

Key = tuple[str, ...]
"""Whose bucket it is; begins with the tenant."""


class Limiter(Protocol):
    """Whatever allows so much a second."""

    def take(self, key: Key, count: int = 1) -> float:
        """Take tokens and give 0.0, or take none and give the seconds after which to ask again."""


_LONGEST_DEBT_S: Final = 60.0


class Rate(NamedTuple):
    """So many a second, and so many at once after a pause; 0 a second means no limit."""

    per_second: float
    burst: float


class _Bucket:
    __slots__ = ("at", "tokens", "told")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.told = 0
        """Taken since the others were last told."""


class RateLimiter:
    """Token buckets by key. A bucket holds ``burst`` tokens and gains ``rate`` a second; a rate of 0 means no limit."""

    def __init__(
        self,
        rate: float,
        burst: float,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
        name: str = "",
    ) -> None:
        """Make a limiter of at most ``capacity`` buckets on a monotonic clock in seconds; its name is what other processes know it by."""
        self.name = name
        self._whole = Rate(rate, max(burst, 1.0))
        self._rate, self._burst = self._whole
        self._capacity = capacity
        self._clock = clock
        self._buckets: OrderedDict[Key, _Bucket] = OrderedDict()
        self._move_to_end = self._buckets.move_to_end
        self._touched: dict[Key, _Bucket] | None = None

    def take(self, key: Key, count: int = 1) -> float:
        """Take ``count`` tokens and give 0.0, or take none and give the seconds after which to ask again.

        A count above the burst passes once the bucket is full and leaves it in debt, so that big frames are slowed but not impossible.
        """
        rate = self._rate
        if rate <= 0:
            return 0.0
        burst = self._burst
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._new(key)
        else:
            # Filled up right here, as in ``_filled``: this is paid for every call and every frame.
            self._move_to_end(key)
            now = self._clock()
            tokens = bucket.tokens + (now - bucket.at) * rate
            bucket.tokens = tokens if tokens < burst else burst
            bucket.at = now
        needed = count if count < burst else burst
        if bucket.tokens < needed:
            return (needed - bucket.tokens) / rate
        bucket.tokens -= count
        if self._touched is not None:
            if not bucket.told:
                self._touched[key] = bucket
            bucket.told += count
        return 0.0

    def give_back(self, key: Key, count: int = 1) -> None:
        """Put back what was just taken: what it was for was refused for another reason."""
        bucket = self._buckets.get(key)
        if bucket is None or self._rate <= 0:
            return
        bucket.tokens += count
        bucket.told = max(0, bucket.told - count)

    def _new(self, key: Key) -> _Bucket:
        bucket = self._buckets[key] = _Bucket(self._burst, self._clock())
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return bucket

    def _filled(self, key: Key) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            return self._new(key)
        now = self._clock()
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
        bucket.at = now
        return bucket

    # --- with other processes -----------------------------------------------------------------------

    def share(self) -> None:
        """Note from now on what is taken, for ``taken``."""
        if self._touched is None:
            self._touched = {}

    def taken(self, most: int) -> list[tuple[Key, int]]:
        """Give what was taken since the last time, at most so many buckets, the most taken first; the rest is not told."""
        touched, self._touched = self._touched or {}, {}
        found = []
        for key, bucket in touched.items():
            if bucket.told:
                found.append((key, bucket.told))
                bucket.told = 0
        if len(found) > most:
            found.sort(key=lambda each: each[1], reverse=True)
        return found[:most]

    def heard(self, taken: Iterable[tuple[Key, int]]) -> None:
        """Take out what others took, into debt where there is less; at most as deep as a minute of the rate, which nobody waits for."""
        rate = self._rate
        if rate <= 0:
            return
        deepest = -_LONGEST_DEBT_S * rate
        for key, count in taken:
            bucket = self._filled(key)
            bucket.tokens = max(bucket.tokens - count, min(bucket.tokens, deepest))

    def part(self, processes: int) -> None:
        """Allow this process one of so many equal parts; 1: all."""
        self._rate = self._whole.per_second / processes
        self._burst = max(1.0, self._whole.burst / processes)


class CallerLimits:
    """The rate of a caller within the rate of its tenant: what either refuses is charged to neither."""

    def __init__(self, caller: RateLimiter, tenant: RateLimiter, refused: Callable[[str], None]) -> None:
        """Limit by both; ``refused`` hears the name of the limit that refuses."""
        self.caller = caller
        self.tenant = tenant
        self._refused = refused

    def take(self, key: Key, count: int = 1) -> float:
        """Take ``count`` tokens for a caller, (tenant, subject), and give 0.0, or take none and give the seconds to wait."""
        wait = self.caller.take(key, count)
        if wait:
            self._refused(self.caller.name)
            return wait
        wait = self.tenant.take(key[:1], count)
        if wait:
            self.caller.give_back(key, count)
            self._refused(self.tenant.name)
        return wait
