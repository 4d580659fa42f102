"""A user's list of conversations: what its flags mean, in which order it stands, and what is unread in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from services.chat.domain.place import FOR_EVER


class Flags(NamedTuple):
    """What a user set for a conversation; the fields are those of ``place.Place``."""

    archived: int = 0
    hidden: int = 0
    muted_until_us: int = 0


NO_FLAGS: Final = Flags()


def is_muted(flags: Flags, at_us: int) -> bool:
    """Tell whether there are no notifications at a time."""
    return flags.muted_until_us == FOR_EVER or flags.muted_until_us > at_us


def is_archived(flags: Flags, said_version: int, at_us: int) -> bool:
    """Tell whether a conversation is put aside: a later message brings it back, unless it is muted."""
    return flags.archived > 0 and (said_version <= flags.archived or is_muted(flags, at_us))


def is_hidden(flags: Flags, said_version: int) -> bool:
    """Tell whether a conversation is out of the list: a later message puts it in again."""
    return flags.hidden > 0 and said_version <= flags.hidden


def order(activity_us: int, conversation_id: str) -> str:
    """Give a conversation's place in the list, which is read from the highest down."""
    return f"{activity_us:016x}-{conversation_id}"


@dataclass(slots=True)
class Sums:
    """What is unread over all conversations, by whether they are archived, muted, or neither."""

    unread: int = 0
    mentions: int = 0
    conversations: int = 0
    muted_unread: int = 0
    muted_mentions: int = 0
    archived_unread: int = 0
    archived_mentions: int = 0

    def add(self, unread: int, mentions: int, *, archived: bool, muted: bool, times: int = 1) -> None:
        """Count a conversation in, or with ``times`` -1 out again."""
        if archived:
            self.archived_unread += times * unread
            self.archived_mentions += times * mentions
        elif muted:
            self.muted_unread += times * unread
            self.muted_mentions += times * mentions
        else:
            self.unread += times * unread
            self.mentions += times * mentions
            self.conversations += times * (unread > 0)
