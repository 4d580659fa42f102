"""What decisions are handed about messages: what never changes, out of the history, and what does, out of the rows beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Final, TypeVar

from services.chat import domain, marks, wire
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

_MOST_KNOWN: Final = 20_000
_LAST: Final = 1 << 62
"""No conversation gets that far; a version from outside may be any number."""
_TRIES: Final = 8
_Answer = TypeVar("_Answer")


class Lookups:
    """Remembers some of what it looked up and what never changes."""

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

    async def target(self, conversation: AggregateId, version: int) -> domain.Target | None:
        """Give what never changes about the message that a command is about."""
        found = await self.said(conversation, version)
        if found is None:
            return None
        return domain.Target(version, found.sender, found.thread_root, found.expires_us)

    async def unknown(self, conversation: AggregateId, versions: Iterable[int]) -> int:
        """Give the first of these versions that is no message; 0 where all are."""
        for version in versions:
            if await self.said(conversation, version) is None:
                return version
        return 0

    async def known(
        self, conversation: AggregateId, *versions: int, reaction: tuple[str, str] | None = None
    ) -> domain.Known:
        """Look up what may have changed of some messages; as of a version that is no newer than what is found.

        ``reaction``: an emoji and a user, where it matters whether that user gives it.
        """
        at_version = (await self._ledger.read(conversation, fresh=False)).version
        facts: dict[str, int] = {}
        for version in versions:
            mark = await marks.mark(self._ledger, conversation, version)
            facts[domain.edits(version)] = wire.edits_of(mark.edited)
            facts[domain.deleted(version)] = 1 if mark.deleted else 0
            facts[domain.replies(version)] = mark.replies
            facts[domain.emojis(version)] = len(mark.reactions)
            if reaction is not None:
                emoji, user_id = reaction
                has = await marks.gives(self._ledger, conversation, user_id, version, emoji)
                facts[domain.given(version, emoji)] = mark.reactions.get(emoji, 0)
                facts[domain.gives(version, emoji, user_id)] = int(has)
        return domain.Known(at_version, facts)

    async def informed(
        self,
        conversation: AggregateId,
        versions: tuple[int, ...],
        work: Callable[[domain.Known], Awaitable[_Answer]],
        reaction: tuple[str, str] | None = None,
    ) -> _Answer:
        """Do something that rests on what may have changed of messages.

        The state mostly knows by itself; only where it says that it forgot, is it looked up. Raises domain.Stale where others always
        changed it first.
        """
        known = domain.Known()
        for _ in range(_TRIES):
            try:
                return await work(known)
            except domain.Stale:
                known = await self.known(conversation, *versions, reaction=reaction)
        return await work(known)
