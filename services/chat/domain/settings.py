"""What a conversation is called and how it is set: what is decided about it."""

from __future__ import annotations

from collections.abc import Sequence

from services.chat.domain.commands import ChangeConversation
from services.chat.domain.conversation import MAX_ATTRIBUTES, Conversation, Profile
from services.chat.domain.events import ConversationChanged, Event
from services.chat.domain.permissions import Permission, require
from services.chat.domain.refusals import Refused


def change(state: Conversation, command: ChangeConversation) -> Sequence[Event]:
    """Call it or set it otherwise; what is as wanted already is no change."""
    profile = _allowed(state, command)
    event = ConversationChanged(
        command.at_us,
        command.actor,
        command.acting_service,
        None if command.title == profile.title else command.title,
        None if command.picture == profile.picture else command.picture,
        {key: value for key, value in command.attributes.items() if profile.attributes.get(key) != value},
        tuple(key for key in command.remove_attributes if key in profile.attributes and key not in command.attributes),
        None if command.open == profile.open else command.open,
        None if command.slow_mode_s == profile.slow_mode_s else command.slow_mode_s,
        None if command.message_ttl_s == profile.message_ttl_s else command.message_ttl_s,
    )
    after = (profile.attributes.keys() - set(event.removed_attributes)) | event.attributes.keys()
    if len(after) > MAX_ATTRIBUTES:
        raise Refused("INVALID_FIELD", f"a conversation has at most {MAX_ATTRIBUTES} attributes", field="attributes")
    nothing = ConversationChanged(command.at_us, command.actor, command.acting_service)
    return () if event == nothing else (event,)


def _allowed(state: Conversation, command: ChangeConversation) -> Profile:
    wanted = []
    if (command.open, command.slow_mode_s, command.message_ttl_s) != (None, None, None):
        wanted.append(Permission.CHANGE_SETTINGS)
    called = (command.title, command.picture) != (None, None) or command.attributes or command.remove_attributes
    if called or not wanted:
        wanted.append(Permission.CHANGE_PROFILE)
    for permission in wanted:
        profile = require(state, command.actor, permission, oversees=command.oversees)
    return profile
