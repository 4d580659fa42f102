"""What one stream of an inbox holds: of each of its user's conversations a small entry, and what is unread in all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat import commands, domain, receipts
from services.chat.access import Actor
from services.chat.domain.inbox import NO_FLAGS, Flags, Sums
from services.chat.domain.place import FOR_EVER
from services.chat.inbox import showing
from services.chat.inbox.following import Followed, Follower, Stream
from services.chat.inbox.surveying import Counts, Gaps, Line, Surveys
from services.chat.inbox.tips import Tip
from services.ledger.errors import HistoryGap
from services.ledger.ids import AggregateId

_SOON: Final = 0.05


class Entry:
    """A conversation in the list: what was counted, and in which group of the totals it stands."""

    __slots__ = ("archived", "counted", "followed", "hid", "mentions", "muted", "read_version", "unread")

    def __init__(self, followed: Followed) -> None:
        """Nothing is known of it yet."""
        self.followed = followed
        self.unread = self.mentions = self.read_version = self.counted = 0
        self.hid = 0  # version of the last message, where the user deleted that for itself
        self.archived = self.muted = False


class Held:
    """All of a user's list, as a stream knows it.

    Args:
        surveys: looks at conversations.
        actor: whose list it is.
        follower: follows its conversations.
        stream: whom the follower tells.
    """

    def __init__(self, surveys: Surveys, actor: Actor, follower: Follower, stream: Stream) -> None:
        """Hold nothing yet."""
        self._surveys, self._actor, self._follower, self._stream = surveys, actor, follower, stream
        self._entries: dict[str, Entry] = {}
        self._flags: dict[str, Flags] = {}
        self._sums = Sums()
        self._opened: list[Line] = []
        self._turns = 0
        self._unreadable: dict[str, None] = {}
        self._gaps: Gaps = {}

    def close(self) -> None:
        """Follow nothing any more."""
        for entry in self._entries.values():
            self._follower.leave(entry.followed, self._stream)

    def totals(self) -> pb.UnreadTotals:
        """Show what is unread in all."""
        return showing.totals(self._sums)

    def failures(self) -> list[pb.InboxFailure]:
        """Show which conversations turned out not to be readable, each once."""
        gaps, self._gaps = self._gaps, {}
        for conversation_id in gaps:
            if conversation_id in self._entries:
                self._count_nothing(self._entries[conversation_id])
        fresh = {name: gap for name, gap in gaps.items() if name not in self._unreadable}
        self._unreadable.update(dict.fromkeys(fresh))
        return showing.failures(fresh)

    async def open(self) -> None:
        """Look at all of the list. Raises LedgerError."""
        actor, now = self._actor, commands.now_us()
        ids = await self._surveys.ids(actor)
        for conversation_id in ids:
            self._entry(conversation_id)  # followed before it is looked at, so that nothing falls between
        self._opened = await self._surveys.lines(actor, self._gaps, ids, self._tip)
        self._flags = {line.conversation.id: line.flags for line in self._opened if line.flags != NO_FLAGS}

        cursors = await self._surveys.cursors(actor)

        async def count(line: Line) -> None:
            counts = await self._surveys.counts(actor, line, cursors.get(line.conversation.id, 0))
            if counts.unread and await self._surveys.standing(actor, line.conversation, fresh=False) is None:
                counts = counts._replace(unread=0, mentions=0)
            self._put(self._entry(line.conversation.id), line, counts, now)

        await self._surveys.each_line(self._opened, self._gaps, count)

    async def _tip(self, conversation: AggregateId) -> Tip:
        """Read the end of a conversation; where others follow it already, what they know will do."""
        followed = self._entry(conversation.id).followed
        if followed.sure:
            return await self._surveys.tips.at(conversation, followed.version)
        tip = await self._surveys.tips.now(conversation)
        followed.sure, followed.version = True, max(followed.version, tip.version)
        return tip

    async def newest(self, most: int) -> tuple[list[pb.InboxEntry], str]:
        """Show the newest entries, and after which place there are older ones; empty where there are none. Raises LedgerError."""
        lines, self._opened = [line for line in self._opened if not line.hidden()], []
        now = commands.now_us()

        async def show(line: Line) -> pb.InboxEntry | None:
            state = await self._surveys.standing(self._actor, line.conversation)
            return (
                await self._shown(self._entries[line.conversation.id], line, state, now) if state is not None else None
            )

        shown = await self._surveys.each_line(lines[:most], self._gaps, show)
        return [entry for entry in shown if entry is not None], lines[most - 1].place if len(lines) > most else ""

    async def look(self, turned: Sequence[str], grew: Sequence[str]) -> tuple[list[pb.InboxEntry], list[str]]:
        """Look at conversations again; give the entries to show, and the ids of those to take away. Raises LedgerError.

        ``turned``: what the user is or has there may have changed. ``grew``: there are new events, and nothing else.
        """
        entries: list[pb.InboxEntry] = []
        removed: list[str] = []

        async def look(asked: tuple[str, bool]) -> None:
            known = asked[0] in self._entries
            try:
                shown = await self._look(asked[0], anew=asked[1] or asked[0] in self._unreadable)
            except HistoryGap as gap:
                self._gaps[asked[0]] = gap
                return
            self._unreadable.pop(asked[0], None)
            if shown is not None:
                entries.append(shown)
            elif known:
                removed.append(asked[0])

        await self._surveys.each([(each, True) for each in turned] + [(each, False) for each in grew], look)
        entries.sort(key=lambda entry: (entry.activity_time.seconds, entry.activity_time.nanos), reverse=True)
        return entries, removed

    async def _look(self, conversation_id: str, *, anew: bool) -> pb.InboxEntry | None:
        entry = self._entry(conversation_id)  # followed before it is looked at
        conversation, at_least = entry.followed.conversation, entry.followed.version
        state = await self._surveys.standing(self._actor, conversation, fresh=anew, at_least=at_least)
        if state is None:
            self._forget(conversation_id)
            return None
        if anew:
            await self._take_flags(conversation_id)
        tip = await self._surveys.tips.at(conversation, state.version)
        line = Line(conversation, tip, self._flags.get(conversation_id, NO_FLAGS))
        counts = None if anew else self._followed_up(entry, tip)
        if counts is None:
            counts = await self._surveys.counted(self._actor, conversation, state)
        now = commands.now_us()
        self._put(entry, line, counts, now)
        return await self._shown(entry, line, state, now, anew=anew) if not line.hidden() else None

    async def _shown(
        self, entry: Entry, line: Line, state: domain.Conversation, now_us: int, *, anew: bool = True
    ) -> pb.InboxEntry:
        said_version = line.tip.said_version
        if anew:
            entry.hid = said_version if await self._surveys.hid(self._actor, line) else 0
        counts, hid = self._counts(entry), bool(said_version) and entry.hid == said_version
        return showing.entry(self._actor.user_id, line, state, counts, now_us, hid=hid)

    def _followed_up(self, entry: Entry, tip: Tip) -> Counts | None:
        """Count on from what was counted, by the messages since; None where that does not do."""
        if not entry.counted or entry.counted < max(tip.floor, tip.disturbed):
            return None
        unread, mentions, user_id = entry.unread, entry.mentions, self._actor.user_id
        known = max(entry.counted, entry.read_version)  # a cursor may be ahead of what was counted
        for news in tip.recent:
            if news.version > known and news.sender != user_id:
                unread += 1
                mentions += news.to_all or user_id in news.mentions
        return Counts(unread, mentions, entry.read_version, max(entry.counted, tip.version))

    async def _take_flags(self, conversation_id: str) -> None:
        flags = await self._surveys.flags_of(self._actor, conversation_id)
        if flags == NO_FLAGS:
            self._flags.pop(conversation_id, None)
        else:
            self._flags[conversation_id] = flags

    async def suspects(self, *, missed: bool) -> list[str]:
        """Give conversations to look at again: that came, went, were flagged or grew unheard, or were read elsewhere so.

        One of all is tried at a time, and one of those with something unread. ``missed``: words were surely missed, so all of the latter
        are suspect. Raises LedgerError.
        """
        ids = set(await self._surveys.ids(self._actor))
        flags = await self._surveys.flags(self._actor)
        found = ids ^ self._entries.keys()
        found |= ids & self._unreadable.keys()  # they may have been restored
        found |= {each for each in ids if flags.get(each, NO_FLAGS) != self._flags.get(each, NO_FLAGS)}
        unread = [each for each, entry in self._entries.items() if entry.unread]
        if missed:
            return list(found.union(unread))
        self._turns += 1
        for some in (list(self._entries), unread):
            conversation_id = some[self._turns % len(some)] if some else ""
            if conversation_id and await self._differs(self._entries[conversation_id]):
                found.add(conversation_id)
        return list(found)

    async def _differs(self, entry: Entry) -> bool:
        """Tell whether a conversation grew, or was read elsewhere, and that was not heard."""
        conversation = entry.followed.conversation
        try:
            if (await self._surveys.tips.now(conversation)).version > entry.counted:
                return True
        except HistoryGap:
            return conversation.id not in self._unreadable
        read = await receipts.read_base(self._surveys.ledger, conversation, self._actor.user_id)
        return read is not None and read.version > entry.read_version

    def seconds_to_next_end(self) -> float:
        """Give how long it is until a mute ends."""
        ends = self._ends()
        return max(0.0, (min(ends.values()) - commands.now_us()) / 1e6 + _SOON) if ends else math.inf

    def ended(self) -> list[str]:
        """Give conversations that are told as muted and are not any more."""
        now = commands.now_us()
        return [conversation_id for conversation_id, until_us in self._ends().items() if until_us <= now]

    def _ends(self) -> dict[str, int]:
        return {
            conversation_id: flags.muted_until_us
            for conversation_id, flags in self._flags.items()
            if flags.muted_until_us not in (0, FOR_EVER)
            and (entry := self._entries.get(conversation_id)) is not None
            and entry.muted
        }

    def _entry(self, conversation_id: str) -> Entry:
        entry = self._entries.get(conversation_id)
        if entry is None:
            followed = self._follower.follow(commands.aggregate_of(self._actor, conversation_id), self._stream)
            # Under the name that all streams share.
            entry = self._entries[followed.conversation.id] = Entry(followed)
        return entry

    def _forget(self, conversation_id: str) -> None:
        self._unreadable.pop(conversation_id, None)
        entry = self._entries.pop(conversation_id, None)
        if entry is not None:
            self._count_out(entry)
            self._follower.leave(entry.followed, self._stream)

    def _counts(self, entry: Entry) -> Counts:
        return Counts(entry.unread, entry.mentions, entry.read_version, entry.counted)

    def _put(self, entry: Entry, line: Line, counts: Counts, now_us: int) -> None:
        self._count_out(entry)
        entry.unread, entry.mentions, entry.read_version, entry.counted = counts
        entry.archived, entry.muted = line.archived(now_us), line.muted(now_us)
        self._sums.add(entry.unread, entry.mentions, archived=entry.archived, muted=entry.muted)

    def _count_nothing(self, entry: Entry) -> None:
        self._count_out(entry)
        entry.unread = entry.mentions = entry.counted = 0

    def _count_out(self, entry: Entry) -> None:
        self._sums.add(entry.unread, entry.mentions, archived=entry.archived, muted=entry.muted, times=-1)
