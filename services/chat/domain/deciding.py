"""What a command leads to, or why it is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from services.chat.domain import (
    amending,
    expiring,
    inviting,
    membership,
    messages,
    moderation,
    reacting,
    settings,
)
from services.chat.domain.commands import (
    AddMembers,
    Ban,
    ChangeConversation,
    Command,
    CreateConversation,
    CreateInvitation,
    DeleteMessage,
    EditMessage,
    ExpireMessages,
    Join,
    JoinByInvitation,
    Mute,
    PinMessage,
    PostSystemMessage,
    React,
    RemoveMembers,
    RevokeInvitation,
    SendMessage,
    SetRole,
    Unban,
    Unmute,
    UnpinMessage,
    Withheld,
)
from services.chat.domain.conversation import Conversation
from services.chat.domain.events import Event

_DECIDES: Final[Mapping[type, Callable[[Conversation, Any], Sequence[Event]]]] = {
    CreateConversation: membership.create,
    ChangeConversation: settings.change,
    AddMembers: membership.add,
    Join: membership.join,
    RemoveMembers: membership.remove,
    SetRole: membership.set_role,
    Ban: moderation.ban,
    Unban: moderation.unban,
    Mute: moderation.mute,
    Unmute: moderation.unmute,
    EditMessage: amending.edit,
    DeleteMessage: amending.delete,
    PinMessage: amending.pin,
    UnpinMessage: amending.unpin,
    React: reacting.react,
    CreateInvitation: inviting.create,
    RevokeInvitation: inviting.revoke,
    JoinByInvitation: inviting.join,
    ExpireMessages: expiring.expire,
    PostSystemMessage: messages.tell,
}


def decide(state: Conversation, command: Command) -> Sequence[Event]:
    """Give the events that a command leads to. Raises Refused."""
    if type(command) is SendMessage:  # by far the most frequent
        return messages.send(state, command)
    if type(command) is Withheld:
        if not command.outright:
            decide(state, command.command)  # who may not say it at all is told that
        raise command.refusal
    decides = _DECIDES.get(type(command))
    if decides is None:
        raise TypeError(f"no command of a conversation: {type(command).__name__}")
    events = decides(state, command)
    return [replace(event, messages=state.messages) for event in events] if state.messages else events  # type: ignore[type-var]
