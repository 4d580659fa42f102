"""One reader's place in one conversation, and how far it may read.

Frames are shared by all readers of a conversation, so a removed member must be cut off without touching them. Its removal or ban is an
event with its id in it; hence a frame in which those bytes do not occur cannot hold it, and searching is nearly free. Only a
frame in which they do occur is parsed, and only if its reader is removed in it and not let in again, is it cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tradewind.chat.v1 import chat_pb2

from services.chat import commands, domain
from services.chat.access import Actor, may_read, readable
from services.ledger.cursor import Frame, Watcher
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.ledger.varint import field

MOST_AHEAD: Final = 1_000_000
"""A client may know versions this server has not heard of yet, but not so many."""
_USER_ID: Final = 1  # of MembersRemoved.user_ids and MemberBanned.user_id


class Subscription:
    """A reader's place. ``watched`` is the version up to which its right to read has been looked at."""

    __slots__ = ("_actor", "_mark", "_watched", "aggregate", "next")

    def __init__(self, aggregate: AggregateId, actor: Actor, after: int, version: int) -> None:
        """Begin after version ``after``; the actor was seen to be allowed at ``version``."""
        self.aggregate = aggregate
        self.next = after + 1
        self._actor = actor
        self._mark = None if actor.oversees else field(_USER_ID, actor.user_id.encode())
        self._watched = version

    def passes(self, frame: Frame) -> bool:
        """Tell whether a frame can be handed on as it is, at a glance; False asks for ``cut_after``."""
        if self._mark is not None and frame.last > self._watched:
            if frame.first > self._watched + 1 or self._mark in frame.data:
                return False
            self._watched = frame.last
        return True

    async def cut_after(self, frame: Frame, events: Sequence[chat_pb2.ConversationEvent], ledger: Ledger) -> int | None:
        """Give the last version of a frame that the reader may have, where it was removed; None where it may read on."""
        unseen = frame.first > self._watched + 1
        removed_at = _removed_at(self._actor.user_id, events)
        if unseen or removed_at is not None:
            view = await ledger.read(self.aggregate)
            if not await may_read(ledger, self._actor, self.aggregate, view.state, commands.now_us()):
                # In what was not looked at lies a removal: then nothing of what follows is the reader's.
                return removed_at if removed_at is not None and not unseen else frame.first - 1
        self._watched = frame.last
        return None


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


async def allowed(ledger: Ledger, aggregate: AggregateId, actor: Actor, after: int) -> Subscription:
    """Give an actor its place in a conversation. Raises domain.Refused (NOT_FOUND, INVALID_FIELD)."""
    version = (await readable(ledger, actor, aggregate, commands.now_us())).version
    if after > version + MOST_AHEAD:
        raise domain.Refused("INVALID_FIELD", "the conversation never had that many events", field="after_version")
    return Subscription(aggregate, actor, after, version)


async def arrived_in_order(subscription: Subscription, frame: Frame, watcher: Watcher) -> bool:
    """Tell whether a frame goes on where the reader is; else (it was under way while the place was moved) ask for it anew."""
    if frame.first == subscription.next:
        subscription.next = frame.last + 1
        return True
    await watcher.add(subscription.aggregate, subscription.next - 1)
    return False
