"""How much somebody has not read: a difference of counts, whatever lies between."""

from __future__ import annotations

from typing import NamedTuple

from services.chat.domain.conversation import Conversation
from services.chat.domain.senders import sender


class Base(NamedTuple):
    """From where on somebody has not read: a version, how many messages there were by then, how many of them its own."""

    version: int
    messages: int
    own: int


def base_of(state: Conversation, user_id: str, read: Base | None) -> Base:
    """Give from where on a user has not read: from what it read, or from when it joined where that was later.

    Who leaves is forgotten as a sender; so what it read and said before it joined again does not count.
    """
    member = state.profile.members.get(user_id) if state.profile is not None else None
    if member is None:  # a channel's reader, of whom nothing is known as a sender
        return Base(read.version, read.messages, 0) if read is not None else Base(0, 0, 0)
    if read is None or read.version < member.since_version:
        return Base(member.since_version, member.since_messages, 0)
    return read


def unread(state: Conversation, user_id: str, base: Base, gone: int) -> int:
    """Count what a user has not read; ``gone``: messages of others above the base that were deleted."""
    last = sender(state.senders, user_id)
    own = last[0] if last is not None else 0
    return state.messages - base.messages - (own - base.own) - gone
