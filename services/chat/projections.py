"""What is kept beside the events so that it can be listed: which conversations a user is in, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from services.chat import domain
from services.ledger.archive import Row
from services.ledger.ids import AggregateId

BY_USER = "conversations_by_user"


def partition(tenant: str, user_id: str) -> str:
    """Name what is listed together: one user's conversations."""
    return f"{tenant}/{user_id}"


def key(created_us: int, conversation_id: str) -> str:
    """Give a conversation's place in a user's list: by creation, then by id."""
    return f"{created_us:016x}-{conversation_id}"


def conversation_id_of(row_key: str) -> str:
    """Read the conversation's id out of a row's key."""
    return row_key[17:]


def rows(
    aggregate: AggregateId, state: domain.Conversation, events: Sequence[tuple[int, domain.Event]]
) -> Iterable[Row]:
    """Give the rows that events change: one for each user who came or went."""
    for _, event in events:
        if type(event) is not domain.MessageSent:
            return _changed(aggregate, state, events)
    return ()  # nearly always


def _changed(
    aggregate: AggregateId, state: domain.Conversation, events: Sequence[tuple[int, domain.Event]]
) -> Iterator[Row]:
    if state.profile is None:
        return
    place = key(state.profile.created_us, aggregate.id)
    touched: dict[str, None] = {}
    for _, event in events:
        if isinstance(event, domain.ConversationCreated | domain.MembersAdded):
            touched.update(dict.fromkeys(user_id for user_id, _ in event.members))
        elif isinstance(event, domain.MembersRemoved):
            touched.update(dict.fromkeys(event.user_ids))
    for user_id in touched:
        # The state after the entry decides, whatever happened in between.
        value = b"" if user_id in state.profile.members else None
        yield Row(BY_USER, partition(aggregate.tenant, user_id), place, value)
