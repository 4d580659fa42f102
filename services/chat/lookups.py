"""What never changes about a message, looked up in the history: who sent it, when. Decisions that need it are handed it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from services.chat import wire
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

_MOST_KNOWN: Final = 20_000
_LAST: Final = 1 << 62
"""No conversation gets that far; a version from outside may be any number."""


class Lookups:
    """Remembers some of what it looked up; what is remembered is true for ever."""

    def __init__(self, ledger: Ledger) -> None:
        """Look up in what ``ledger`` holds."""
        self._ledger = ledger
        self._known: dict[tuple[AggregateId, int], wire.Said | None] = {}

    async def said(self, conversation: AggregateId, version: int) -> wire.Said | None:
        """Give a message; None where a version is none, or not there yet."""
        name = (conversation, version)
        if name in self._known:
            return self._known[name]
        if not 0 < version < _LAST:
            return None
        page = await self._ledger.history(conversation, after=version - 1, limit=1)
        if not page or page[0].version != version:
            return None
        found = self._known[name] = wire.said(page[0].payload)
        if len(self._known) > _MOST_KNOWN:
            for oldest in list(islice(self._known, _MOST_KNOWN // 4)):
                del self._known[oldest]
        return found

    async def unknown(self, conversation: AggregateId, versions: Iterable[int]) -> int:
        """Give the first of these versions that is no message; 0 where all are."""
        for version in versions:
            if await self.said(conversation, version) is None:
                return version
        return 0
