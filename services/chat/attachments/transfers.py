"""How many uploads and downloads are under way at a time in this process: each takes memory, and lasts as long as its client likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from services.runtime.errors import Refused


class Transfers:
    """Counts them, in all and of each caller."""

    def __init__(self, most: int, most_each: int) -> None:
        """Let at most ``most`` be under way, and ``most_each`` of one caller."""
        self._most, self._most_each = most, most_each
        self._callers: Counter[Hashable] = Counter()
        self.up = self.down = 0
        """Bytes taken in and given out so far."""

    @property
    def under_way(self) -> int:
        """How many are."""
        return self._callers.total()

    @contextmanager
    def one(self, caller: Hashable) -> Iterator[None]:
        """Be one of them. Raises Refused (OVERLOADED)."""
        if self.under_way >= self._most or self._callers[caller] >= self._most_each:
            raise Refused("OVERLOADED", "too many attachments are under way", retry_after=1.0)
        self._callers[caller] += 1
        try:
            yield
        finally:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]
