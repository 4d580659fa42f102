"""Bans and mutes: whether one lasts, and who is kept out by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.chat.domain.conversation import Conversation, Profile, lasting, lasts
from services.chat.domain.events import Kind
from services.chat.domain.refusals import Refused, kept_out

MAX_SANCTIONS: Final = 1_000
"""Bans, and mutes, that last at a time."""


def banned(until_us: int) -> Refused:
    """Refuse to let in one who is kept out."""
    return kept_out("BANNED", "the user may not be in this conversation", until_us)


def not_banned(profile: Profile, user_id: str, at_us: int) -> None:
    """Raise Refused (BANNED) for one who is kept out."""
    if profile.bans and lasts(profile.bans, user_id, at_us):
        raise banned(profile.bans[user_id])


def reads_channel(state: Conversation, user_id: str, reads: bool, at_us: int) -> bool:
    """Tell whether one who was looked up to be a reader of a channel is no member of it, and is not kept out."""
    profile = state.profile
    if profile is None or profile.kind is not Kind.CHANNEL or user_id in profile.members:
        return False
    return reads and not lasts(profile.bans, user_id, at_us)


def room_for(sanctions: Mapping[str, int], user_id: str, at_us: int) -> None:
    """Raise Refused (SANCTIONS_LIMIT) where one more cannot be kept."""
    kept = lasting(sanctions, at_us)
    if user_id not in kept and len(kept) >= MAX_SANCTIONS:
        raise Refused(
            "SANCTIONS_LIMIT", f"at most {MAX_SANCTIONS} last at a time", metadata={"limit": str(MAX_SANCTIONS)}
        )
