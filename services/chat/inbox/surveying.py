"""All of a user's conversations at a glance: which, since when nothing was said, what the user set for them, and what is unread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from services.chat import commands, domain, marks, projections, receipts
from services.chat.access import Actor, may_read
from services.chat.domain.inbox import NO_FLAGS, Flags, is_archived, is_hidden, is_muted, order
from services.chat.inbox.tips import Tip, Tips
from services.ledger.errors import HistoryGap
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

_PAGE: Final = 500
_AT_ONCE: Final = 8
_PROCESS_AT_ONCE: Final = 64
ReadTip = Callable[[AggregateId], Awaitable[Tip]]
Gaps = dict[str, HistoryGap]
"""Conversations that cannot be read, by id, and why."""
_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")


class Counts(NamedTuple):
    """What is unread in a conversation, as of a version of it, and up to where its user has read."""

    unread: int
    mentions: int
    read_version: int
    version: int


@dataclass(frozen=True, slots=True)
class Line:
    """A conversation of a user, its end, and what the user set for it."""

    conversation: AggregateId
    tip: Tip
    flags: Flags

    @property
    def place(self) -> str:
        """Give its place in the list."""
        return order(self.tip.said_us, self.conversation.id)

    def archived(self, at_us: int) -> bool:
        """Tell whether it is put aside."""
        return is_archived(self.flags, self.tip.said_version, at_us)

    def muted(self, at_us: int) -> bool:
        """Tell whether there are no notifications of it."""
        return is_muted(self.flags, at_us)

    def hidden(self) -> bool:
        """Tell whether it is out of the list."""
        return is_hidden(self.flags, self.tip.said_version)


class Surveys:
    """Looks at users' conversations: at eight of a user at a time, and at 64 of all in the process."""

    def __init__(self, ledger: Ledger, tips: Tips, most: int) -> None:
        """Look at what ``ledger`` holds; of each user at the ``most`` newest conversations by creation."""
        self.ledger = ledger
        self.tips = tips
        self._most = most
        self._places = asyncio.Semaphore(_PROCESS_AT_ONCE)

    async def ids(self, actor: Actor) -> list[str]:
        """Give the ids of a user's conversations, newest first by creation. Raises LedgerError."""
        where = projections.partition(actor.tenant, actor.user_id)
        found: dict[str, None] = {}
        after: str | None = None
        while len(found) < self._most:
            page = await self.ledger.rows(projections.BY_USER, where, after=after, limit=_PAGE, descending=True)
            found.update(dict.fromkeys(projections.conversation_id_of(row.key) for row in page))
            if len(page) < _PAGE:
                break
            after = page[-1].key
        return list(found)[: self._most]

    async def flags(self, actor: Actor) -> dict[str, Flags]:
        """Give what a user set, by conversation; those for which it set nothing are not among them. Raises LedgerError."""
        where = projections.partition(actor.tenant, actor.user_id)
        found: dict[str, Flags] = {}
        after: str | None = None
        while True:
            page = await self.ledger.rows(projections.FLAGS, where, after=after, limit=_PAGE)
            found.update((row.key, _flags(row.value)) for row in page)
            if len(page) < _PAGE:
                return found
            after = page[-1].key

    async def flags_of(self, actor: Actor, conversation_id: str) -> Flags:
        """Give what a user set for a conversation. Raises LedgerError."""
        where = projections.partition(actor.tenant, actor.user_id)
        row = await self.ledger.row(projections.FLAGS, where, conversation_id)
        return _flags(row.value) if row is not None else NO_FLAGS

    async def lines(
        self, actor: Actor, gaps: Gaps, ids: Sequence[str] | None = None, tip: ReadTip | None = None
    ) -> list[Line]:
        """Give a user's conversations (all, or these), newest activity first; ``tip`` reads their ends. Raises LedgerError.

        Those that cannot be read are not among them; they go into ``gaps``.
        """
        flags = await self.flags(actor)
        read = self.tips.now if tip is None else tip

        async def line(conversation_id: str) -> Line:
            conversation = commands.aggregate_of(actor, conversation_id)
            return Line(conversation, await read(conversation), flags.get(conversation_id, NO_FLAGS))

        wanted = await self.ids(actor) if ids is None else ids
        found = await self.each(wanted, _unless_gap(line, str, gaps))
        return sorted((each for each in found if each is not None), key=lambda line: line.place, reverse=True)

    async def each_line(
        self, lines: Iterable[Line], gaps: Gaps, work: Callable[[Line], Awaitable[_Found]]
    ) -> list[_Found | None]:
        """Do something for each of some lines, as `each`; those whose conversations cannot be read give None and go into ``gaps``."""
        return await self.each(lines, _unless_gap(work, lambda line: line.conversation.id, gaps))

    async def each(self, asked: Iterable[_Asked], work: Callable[[_Asked], Awaitable[_Found]]) -> list[_Found]:
        """Do something for each of some, a few at a time, and give what came of it in their order."""
        waiting = list(asked)
        found: list[_Found | None] = [None] * len(waiting)
        numbers = iter(range(len(waiting)))

        async def run() -> None:
            task = asyncio.current_task()
            for number in numbers:
                if task is not None and task.cancelling():
                    return  # a client library swallowed it: the group waits for this task, and for no more of its work
                async with self._places:
                    found[number] = await work(waiting[number])

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(waiting))):
                    group.create_task(run())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return found  # type: ignore[return-value]

    async def hid(self, actor: Actor, line: Line) -> bool:
        """Tell whether a user deleted the last message of a conversation for itself. Raises LedgerError."""
        where = marks.partition(line.conversation, actor.user_id)
        said_version = line.tip.said_version
        return bool(said_version) and await self.ledger.row(marks.HIDDEN, where, marks.key(said_version)) is not None

    async def cursors(self, actor: Actor) -> dict[str, int]:
        """Give up to where a user has read, by conversation. Raises LedgerError."""
        return await receipts.read_everywhere(self.ledger, actor.tenant, actor.user_id)

    async def counts(self, actor: Actor, line: Line, read_version: int) -> Counts:
        """Count what a user, who has read up to a version or further, has not read in a conversation. Raises LedgerError."""
        if read_version >= line.tip.said_version:
            return Counts(0, 0, read_version, line.tip.version)  # nothing was said since
        view = await self.ledger.read(line.conversation, fresh=False, at_least=line.tip.version)
        return await self.counted(actor, line.conversation, view.state)

    async def counted(self, actor: Actor, conversation: AggregateId, state: domain.Conversation) -> Counts:
        """Count what a user has not read in a conversation as it stands. Raises LedgerError."""
        found = await receipts.count(self.ledger, conversation, state, actor.user_id)
        return Counts(found.count, found.mention_count, found.read_version, state.version)

    async def standing(
        self, actor: Actor, conversation: AggregateId, *, fresh: bool = True, at_least: int = 0
    ) -> domain.Conversation | None:
        """Give a conversation that a user has a place in; None where it has none. Raises LedgerError."""
        view = await self.ledger.read(conversation, fresh=fresh, at_least=at_least)
        alone = Actor(actor.tenant, actor.user_id, "", False, False)
        belongs = await may_read(self.ledger, alone, conversation, view.state, commands.now_us())
        return view.state if belongs else None


def _unless_gap(
    work: Callable[[_Asked], Awaitable[_Found]], name: Callable[[_Asked], str], gaps: Gaps
) -> Callable[[_Asked], Awaitable[_Found | None]]:
    async def done(asked: _Asked) -> _Found | None:
        try:
            return await work(asked)
        except HistoryGap as gap:
            gaps[name(asked)] = gap
            return None

    return done


def _flags(value: bytes | None) -> Flags:
    return Flags(*map(int, (value or b"0 0 0").split()))
