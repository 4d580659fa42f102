"""What is new for one user in a conversation: whether it is to be told, how much there is, and what was said last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tradewind.chat.v1 import chat_pb2

from services.chat import domain, marks, reading, receipts
from services.chat.contents import Contents
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

_TAIL: Final = 50


@dataclass(frozen=True, slots=True)
class News:
    """Something to tell. ``count``: what the user has not read; ``last``: the newest of it, None where it cannot be shown."""

    conversation: AggregateId
    title: str
    direct: bool
    upto: int
    count: int
    last: chat_pb2.Message | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a conversation up to a version: its messages as they are now, newest first."""

    conversation: AggregateId
    state: domain.Conversation
    upto: int
    messages: Sequence[chat_pb2.Message]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Of what a user is told in a conversation: of all; of what mentions it, or all; or only of what mentions it by name."""

    mentions_only: bool = False
    by_name_only: bool = False


async def tail(
    ledger: Ledger, contents: Contents, conversation: AggregateId, state: domain.Conversation, upto: int
) -> Tail:
    """Read a conversation's end, once for all who are told of it. Raises StoreUnavailable, LogUnavailable."""
    events = await ledger.history(conversation, before=upto + 1, limit=_TAIL)
    shown = await reading.shown(ledger, contents, conversation, "", state, events)
    return Tail(conversation, state, upto, [each for each in shown if not each.HasField("delete_time")])


def floor(state: domain.Conversation, user_id: str, read: int, told: int) -> int:
    """Give up to where a user knows: it read it, was told, said something itself, or was not there yet."""
    spoke = domain.sender(state.senders, user_id)
    member = state.profile.members.get(user_id) if state.profile is not None else None
    return max(read, told, spoke[1] if spoke is not None else 0, member.since_version if member is not None else 0)


async def news(ledger: Ledger, end: Tail, user_id: str, known: int, wishes: Wishes) -> News | None:
    """Find out what is new for a user above a version; None where nothing is. Raises StoreUnavailable."""
    conversation, state, upto = end.conversation, end.state, end.upto
    if known >= upto or state.profile is None:
        return None
    others = [each for each in end.messages if each.version > known and each.sender_id not in ("", user_id)]
    if wishes.mentions_only or wishes.by_name_only:
        mentioning = await _mentions(ledger, conversation, user_id, known, upto, wishes.by_name_only)
        if not mentioning:
            return None
        others = [each for each in others if each.version in mentioning]
    elif not others and known >= upto - _TAIL:
        return None
    unread = await receipts.count(ledger, conversation, state, user_id)
    count = unread.mention_count if wishes.mentions_only or wishes.by_name_only else unread.count
    if not count:
        return None
    hidden = await marks.hidden(ledger, conversation, user_id, known + 1, upto)
    last = next((each for each in others if each.version not in hidden), None)
    direct = state.profile.kind is domain.Kind.DIRECT
    return News(conversation, state.profile.title, direct, upto, count, last)


async def _mentions(
    ledger: Ledger, conversation: AggregateId, user_id: str, above: int, until: int, by_name_only: bool
) -> set[int]:
    """Give the messages of others that mention a user and were not deleted."""
    own = user_id.encode()
    found: set[int] = set()
    for where in (("u", user_id),) if by_name_only else (("u", user_id), ("a",)):
        async for row in marks.between(ledger, marks.MENTIONS, marks.partition(conversation, *where), above + 1, until):
            unnamed = by_name_only and row.value is not None and row.value.startswith(marks.HERE)
            if row.value != own and not unnamed:
                found.add(marks.version_of(row.key))
    if not found:
        return found
    async for row in marks.between(ledger, marks.DELETED, marks.partition(conversation), min(found), max(found)):
        found.discard(marks.version_of(row.key))
    return found
