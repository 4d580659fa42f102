"""What becomes of a message after it was said: edited, deleted, pinned; what is decided about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.chat.domain.commands import Asked, DeleteMessage, EditMessage, Known, PinMessage, Target, UnpinMessage
from services.chat.domain.conversation import Conversation, Profile, lasts
from services.chat.domain.events import Event, MessageDeleted, MessageEdited, MessagePinned, MessageUnpinned
from services.chat.domain.permissions import Permission, lacking, require
from services.chat.domain.recent import deleted, edits, fact, replies
from services.chat.domain.refusals import Refused, kept_out
from services.chat.domain.sanctions import reads_channel

MAX_EDITS: Final = 100
MAX_PINS: Final = 100


def edit(state: Conversation, command: EditMessage) -> Sequence[Event]:
    """Say something else."""
    permission = Permission.EDIT_OWN
    profile = require(state, command.actor, permission, oversees=command.oversees)
    target = there(state, command.target, command.known, command.at_us)
    if not target.sender:
        raise no_such_message(target.version)
    if target.sender != command.actor:
        raise lacking(permission, profile.members[command.actor].role, "nobody edits what another said")
    if profile.mutes and lasts(profile.mutes, command.actor, command.at_us):
        until_us = profile.mutes[command.actor]
        raise kept_out("MUTED", "the member may not speak now", until_us, permission=permission.value)
    number = fact(state.recent, edits(target.version), command.known) + 1
    if number > MAX_EDITS:
        raise Refused(
            "EDITS_LIMIT", f"a message is edited at most {MAX_EDITS} times", metadata={"limit": str(MAX_EDITS)}
        )
    return (MessageEdited(*_who(command), target.version, command.content, number),)


def delete(state: Conversation, command: DeleteMessage) -> Sequence[Event]:
    """Take a message back, or away; one that is deleted already stays so."""
    target = command.target
    own = target is not None and target.sender == command.actor
    permission = Permission.DELETE_OWN if own else Permission.DELETE_ANY
    if target is None:
        # Whoever may read may know that there is no such message.
        if not reads_channel(state, command.actor, command.reads, command.at_us):
            require(state, command.actor, Permission.READ, oversees=command.oversees)
        raise no_such_message(0)
    takes_back = own and reads_channel(state, command.actor, command.reads, command.at_us)
    if not (command.moderates or takes_back):
        require(state, command.actor, permission, oversees=command.oversees)
    if over(target, command.at_us) or fact(state.recent, deleted(target.version), command.known):
        return ()
    left = 0
    if target.thread_root:
        left = fact(state.recent, replies(target.thread_root), command.known) - 1
    return (MessageDeleted(*_who(command), target.version, target.sender, target.thread_root, left),)


def pin(state: Conversation, command: PinMessage) -> Sequence[Event]:
    """Pin a message; one that is pinned stays so."""
    profile = require(state, command.actor, Permission.PIN, oversees=command.oversees)
    target = there(state, command.target, command.known, command.at_us)
    if target.version in profile.pins:
        return ()
    if len(profile.pins) >= MAX_PINS:
        raise Refused("PINS_LIMIT", f"at most {MAX_PINS} messages are pinned", metadata={"limit": str(MAX_PINS)})
    return (MessagePinned(*_who(command), target.version),)


def unpin(state: Conversation, command: UnpinMessage) -> Sequence[Event]:
    """Pin a message no more."""
    profile: Profile = require(state, command.actor, Permission.PIN, oversees=command.oversees)
    return (MessageUnpinned(*_who(command), command.version),) if command.version in profile.pins else ()


def no_such_message(version: int) -> Refused:
    """Refuse what names a version that is no message, or none any more."""
    return Refused(
        "NO_SUCH_MESSAGE",
        "this version is no message of the conversation",
        metadata={"version": str(version)} if version else {},
    )


def there(state: Conversation, target: Target | None, known: Known, at_us: int) -> Target:
    """Give the message that is meant. Raises Refused (NO_SUCH_MESSAGE) where there is none, it was deleted, or its time is over."""
    if target is None:
        raise no_such_message(0)
    if over(target, at_us) or fact(state.recent, deleted(target.version), known):
        raise no_such_message(target.version)
    return target


def over(target: Target, at_us: int) -> bool:
    """Tell whether a message's time is over, though it may not have been told yet."""
    return target.expires_us != 0 and at_us >= target.expires_us


def _who(command: Asked) -> tuple[int, str, str]:
    return command.at_us, command.actor, command.acting_service
