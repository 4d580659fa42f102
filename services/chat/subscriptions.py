"""One reader's place in one conversation, and how far it may read.

Frames are shared by all readers of a conversation, so a removed member must be cut off without touching them. Its removal or ban is an
event with its id in it; hence a frame in which those bytes do not occur cannot hold it, and searching is nearly free. Only a
frame in which they do occur is parsed, and only if its reader is removed in it and not let in again, is it cut. A channel's reader that
leaves is in none of its frames: it is followed by its own place (``departures``), and then looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from tradewind.chat.v1 import chat_pb2

from services.chat import commands, domain, projections
from services.chat.access import Actor, may_read, readable
from services.chat.departures import SURE_SECONDS, Departures
from services.ledger.cursor import Frame, Watcher
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.ledger.varint import field

MOST_AHEAD: Final = 1_000_000
"""A client may know versions this server has not heard of yet, but not so many."""
_USER_ID: Final = 1  # of MembersRemoved.user_ids and MemberBanned.user_id


class Subscription:
    """A reader's place. ``watched`` is the version up to which its right to read has been looked at."""

    __slots__ = ("_actor", "_departures", "_doubted", "_mark", "_sure_until", "_wake", "_watched", "aggregate", "next")

    def __init__(self, aggregate: AggregateId, actor: Actor, after: int, version: int) -> None:
        """Begin after version ``after``; the actor was seen to be allowed at ``version``."""
        self.aggregate = aggregate
        self.next = after + 1
        self._actor = actor
        self._mark = None if actor.oversees else field(_USER_ID, actor.user_id.encode())
        self._watched = version
        self._departures: Departures | None = None
        self._wake: Callable[[AggregateId], None] | None = None
        self._doubted = False
        self._sure_until = 0.0

    def follow(self, departures: Departures, wake: Callable[[AggregateId], None]) -> None:
        """Be in doubt when the actor's own place changes, until ``close``; ``wake`` is told so where it is to be looked at once."""
        self._departures, self._wake = departures, wake
        self._sure_until = monotonic() + SURE_SECONDS
        departures.follow(self._place(), self)

    def close(self) -> None:
        """Follow nothing any more; again changes nothing."""
        if self._departures is not None:
            self._departures.leave(self._place(), self)
            self._departures = None

    def doubt(self, *, wake: bool) -> None:
        """Look again before anything more is given; ``wake``: at once."""
        self._doubted = True
        if wake and self._wake is not None:
            self._wake(self.aggregate)

    def seen(self, version: int) -> None:
        """The actor was allowed at a version."""
        self._watched = version

    @property
    def doubted(self) -> bool:
        """Whether the actor must be looked at (``stands``) before anything more is given."""
        return self._doubted or (self._departures is not None and monotonic() > self._sure_until)

    async def stands(self, ledger: Ledger) -> bool:
        """Look whether the actor still may read. Raises LedgerError."""
        self._doubted = False  # first, for what is stored while this looks
        self._sure_until = monotonic() + SURE_SECONDS
        view = await ledger.read(self.aggregate)
        return await may_read(ledger, self._actor, self.aggregate, view.state, commands.now_us())

    def passes(self, frame: Frame) -> bool:
        """Tell whether a frame can be handed on as it is, at a glance; False asks for ``cut_after``."""
        if self._doubted or (self._departures is not None and monotonic() > self._sure_until):
            return False  # as ``doubted`` says; a call less for each frame of each reader
        if self._mark is not None and frame.last > self._watched:
            if frame.first > self._watched + 1 or self._mark in frame.data:
                return False
            self._watched = frame.last
        return True

    async def cut_after(self, frame: Frame, events: Sequence[chat_pb2.ConversationEvent], ledger: Ledger) -> int | None:
        """Give the last version of a frame that the reader may have, where it was removed; None where it may read on."""
        unseen = frame.first > self._watched + 1 or self.doubted
        removed_at = _removed_at(self._actor.user_id, events)
        if (unseen or removed_at is not None) and not await self.stands(ledger):
            # In what was not looked at lies a removal: then nothing of what follows is the reader's.
            return removed_at if removed_at is not None and not unseen else frame.first - 1
        self._watched = max(self._watched, frame.last)
        return None

    def _place(self) -> AggregateId:
        return projections.place_of(self.aggregate, self._actor.user_id)


def _removed_at(user_id: str, events: Sequence[chat_pb2.ConversationEvent]) -> int | None:
    """Give the version at which a member is removed and not let in again within these events."""
    removed_at: int | None = None
    for event in events:
        if event.HasField("members_removed") and user_id in event.members_removed.user_ids:
            removed_at = event.version
        elif event.HasField("banned") and event.banned.user_id == user_id:
            # A channel's reader is removed by nothing else; a member was, just before.
            removed_at = event.version if removed_at is None else removed_at
        elif event.HasField("members_added") and any(m.user_id == user_id for m in event.members_added.members):
            removed_at = None
    return removed_at


async def allowed(
    ledger: Ledger,
    departures: Departures,
    aggregate: AggregateId,
    actor: Actor,
    after: int,
    wake: Callable[[AggregateId], None],
) -> Subscription:
    """Give an actor its place in a conversation; ``close`` it. Raises domain.Refused (NOT_FOUND, INVALID_FIELD)."""
    place = Subscription(aggregate, actor, after, 0)
    place.follow(departures, wake)  # before it is looked at, so that nothing is missed
    try:
        state = await readable(ledger, actor, aggregate, commands.now_us())
        if after > state.version + MOST_AHEAD:
            raise domain.Refused("INVALID_FIELD", "the conversation never had that many events", field="after_version")
    except BaseException:
        place.close()
        raise
    if actor.oversees or state.profile is None or state.profile.kind is not domain.Kind.CHANNEL:
        place.close()  # whoever leaves is in a frame
    place.seen(state.version)
    return place


async def arrived_in_order(subscription: Subscription, frame: Frame, watcher: Watcher) -> bool:
    """Tell whether a frame goes on where the reader is; else (it was under way while the place was moved) ask for it anew."""
    if frame.first == subscription.next:
        subscription.next = frame.last + 1
        return True
    await watcher.add(subscription.aggregate, subscription.next - 1)
    return False
