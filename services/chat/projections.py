"""What is kept beside the events so that it can be listed: which conversations a user is in, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from services.chat import domain, marks
from services.chat.domain import place
from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

BY_USER = "conversations_by_user"
EVER = "conversations_ever"
"""Conversations that a user was ever in, by the same keys; never deleted, so that what it did in one that it left can be given to it."""
FLAGS = "inbox_flags"
"""What a user set for conversations, by conversation."""
_READER = "~"
"""Ends the key of a channel's reader: it is written by the reader's own aggregate, and beside the key of a member."""

SLICED = {BY_USER: 8, EVER: 8, FLAGS: 4}
"""By how many characters of a key a store may cut a user's list: the key begins with the time, so that is a slice for every 72 minutes in
which conversations with the user began. Of flags there are few: a slice for 50 days, as a conversation's id begins with the time."""


def partition(tenant: str, user_id: str) -> str:
    """Name what is listed together: one user's conversations."""
    return f"{tenant}/{user_id}"


def key(created_us: int, conversation_id: str) -> str:
    """Give a conversation's place in a user's list: by creation, then by id."""
    return f"{created_us:016x}-{conversation_id}"


def conversation_id_of(row_key: str) -> str:
    """Read the conversation's id out of a row's key."""
    return row_key[17:].removesuffix(_READER)


def is_readers(row_key: str) -> bool:
    """Tell whether a row is that of a channel's reader."""
    return row_key.endswith(_READER)


def place_of(conversation: AggregateId, user_id: str) -> AggregateId:
    """Name a user's place in a conversation."""
    return AggregateId(conversation.tenant, PLACE, f"{conversation.id}/{user_id}")


PLACE = "place"


async def reads(ledger: Ledger, conversation: AggregateId, user_id: str, created_us: int) -> bool:
    """Tell whether a user is a reader of a channel that was made at a time."""
    where = partition(conversation.tenant, user_id)
    return await ledger.row(BY_USER, where, key(created_us, conversation.id) + _READER) is not None


def rows(
    aggregate: AggregateId, state: domain.Conversation, events: Sequence[tuple[int, domain.Event]]
) -> Iterable[Row]:
    """Give the rows that events change: one for each user who came or went."""
    for _, event in events:
        if type(event) is not domain.MessageSent or event.about is not None:
            return _last_of_each(chain(_changed(aggregate, state, events), marks.rows(aggregate, events)))
    return ()  # nearly always


def _last_of_each(written: Iterable[Row]) -> Iterable[Row]:
    """Give of each row what was written last: rows of one entry have one sequence, and no order of their own."""
    return {(row.table, row.partition, row.key): row for row in written}.values()


def _changed(
    aggregate: AggregateId, state: domain.Conversation, events: Sequence[tuple[int, domain.Event]]
) -> Iterator[Row]:
    if state.profile is None:
        return
    where = key(state.profile.created_us, aggregate.id)
    touched: dict[str, None] = {}
    for _, event in events:
        if isinstance(event, domain.ConversationCreated | domain.MembersAdded):
            touched.update(dict.fromkeys(user_id for user_id, _ in event.members))
        elif isinstance(event, domain.MembersRemoved):
            touched.update(dict.fromkeys(event.user_ids))
    for user_id in touched:
        # The state after the entry decides, whatever happened in between.
        value = b"" if user_id in state.profile.members else None
        yield Row(BY_USER, partition(aggregate.tenant, user_id), where, value)
        yield Row(EVER, partition(aggregate.tenant, user_id), where, b"")


def place_rows(
    aggregate: AggregateId, state: place.Place, events: Sequence[tuple[int, place.PlaceChange]]
) -> Iterable[Row]:
    """Give the row of a channel's reader, who has the channel in its list, those of messages it hid, and that of its flags."""
    conversation_id, _, user_id = aggregate.id.partition("/")
    written = list(marks.place_rows(aggregate, events))
    if any(isinstance(event, place.Archived | place.Silenced | place.Hidden) for _, event in events):
        written.append(flags_row(aggregate.tenant, user_id, conversation_id, state))
    if any(isinstance(event, place.ChannelJoined | place.ChannelLeft) for _, event in events):
        where, whose = key(state.created_us, conversation_id), partition(aggregate.tenant, user_id)
        written.append(Row(BY_USER, whose, where + _READER, b"" if state.reads else None))
        written.append(Row(EVER, whose, where, b""))
    return written


def flags_row(tenant: str, user_id: str, conversation_id: str, state: place.Place) -> Row:
    """Give the row of what a user set for a conversation: versions at which it was archived and hidden, and until when it is muted."""
    flags = (state.archived, state.hidden, state.muted_until_us)
    value = " ".join(map(str, flags)).encode() if any(flags) else None
    return Row(FLAGS, partition(tenant, user_id), conversation_id, value)
