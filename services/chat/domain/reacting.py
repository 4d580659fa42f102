"""What people think of a message: emojis, each once by a user; what is decided about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.chat.domain.amending import there
from services.chat.domain.commands import React
from services.chat.domain.conversation import Conversation
from services.chat.domain.events import Event, ReactionAdded, ReactionRemoved
from services.chat.domain.permissions import Permission, require
from services.chat.domain.recent import emojis, fact, given, gives
from services.chat.domain.refusals import Refused
from services.chat.domain.sanctions import reads_channel

MAX_EMOJIS: Final = 20


def react(state: Conversation, command: React) -> Sequence[Event]:
    """Give an emoji or take it back; what is so already is no change."""
    if not reads_channel(state, command.actor, command.reads, command.at_us):
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
