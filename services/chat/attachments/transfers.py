"""How many uploads and downloads are under way at a time in this process: each takes memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.runtime.errors import Refused


class Transfers:
    """Counts them."""

    def __init__(self, most: int) -> None:
        """Let at most ``most`` be under way."""
        self._most = most
        self.under_way = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Be one of them. Raises Refused (OVERLOADED)."""
        if self.under_way >= self._most:
            raise Refused("OVERLOADED", "too many attachments are under way", retry_after=1.0)
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
