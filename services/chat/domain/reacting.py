"""What people think of a message: emojis, each once by a user; what is decided about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.chat.domain.amending import there
from services.chat.domain.commands import React
from services.chat.domain.conversation import Conversation, lasts
from services.chat.domain.events import Event, Kind, ReactionAdded, ReactionRemoved
from services.chat.domain.permissions import Permission, require
from services.chat.domain.recent import emojis, fact, given, gives
from services.chat.domain.refusals import Refused

MAX_EMOJIS: Final = 20


def react(state: Conversation, command: React) -> Sequence[Event]:
    """Give an emoji or take it back; what is so already is no change."""
    if not _reads(state, command):
        require(state, command.actor, Permission.REACT, oversees=command.oversees)
    target = there(state, command.target, command.known, command.at_us)
    version, emoji = target.version, command.emoji
    has = fact(state.recent, gives(version, emoji, command.actor), command.known)
    if bool(has) != command.remove:
        return ()
    count = fact(state.recent, given(version, emoji), command.known)
    different = fact(state.recent, emojis(version), command.known)
    who = (command.at_us, command.actor, command.acting_service)
    if command.remove:
        return (ReactionRemoved(*who, version, emoji, count - 1, different - (count == 1)),)
    if count == 0 and different >= MAX_EMOJIS:
        raise Refused(
            "REACTIONS_LIMIT", f"a message has at most {MAX_EMOJIS} different ones", metadata={"limit": str(MAX_EMOJIS)}
        )
    return (ReactionAdded(*who, version, emoji, count + 1, different + (count == 0)),)


def _reads(state: Conversation, command: React) -> bool:
    """Tell whether the actor reads the channel, and is not kept out of it."""
    profile = state.profile
    if profile is None or profile.kind is not Kind.CHANNEL or command.actor in profile.members:
        return False
    return command.reads and not lasts(profile.bans, command.actor, command.at_us)
