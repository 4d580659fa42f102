"""What is said: what is decided about it."""

from __future__ import annotations

from collections.abc import Sequence

from services.chat.domain.commands import PostSystemMessage, SendMessage
from services.chat.domain.conversation import Conversation, Profile, lasts
from services.chat.domain.events import Event, MessageSent, Role, SystemMessagePosted
from services.chat.domain.permissions import Permission, lacking, permissions, stranger
from services.chat.domain.refusals import Refused, kept_out, not_a_member, not_found
from services.chat.domain.senders import sender


def send(state: Conversation, command: SendMessage) -> Sequence[Event]:
    """Say something."""
    profile = state.profile
    member = profile.members.get(command.actor) if profile is not None else None
    if profile is None or member is None:
        # Only who oversees the tenant may learn that the conversation exists.
        oversees = command.oversees and profile is not None
        raise not_a_member(Permission.POST.value) if oversees else stranger(profile, Permission.POST)
    if member.role is Role.READER:
        raise lacking(Permission.POST, member.role)
    if profile.mutes and lasts(profile.mutes, command.actor, command.at_us):
        until_us = profile.mutes[command.actor]
        raise kept_out("MUTED", "the member may not speak now", until_us, permission=Permission.POST.value)
    if command.unknown_reply:
        raise no_such_message(command.unknown_reply)
    if profile.slow_mode_s:
        _not_too_soon(state, profile, command.actor, command.at_us)
    return (MessageSent(command.at_us, command.actor, command.acting_service, command.content, state.messages + 1),)


def tell(state: Conversation, command: PostSystemMessage) -> Sequence[Event]:
    """Post a service's word."""
    if state.profile is None:
        raise not_found()
    return (SystemMessagePosted(command.at_us, command.acting_service, command.code, command.text, command.attributes),)


def no_such_message(version: int) -> Refused:
    """Refuse what names a version that is no message."""
    return Refused(
        "NO_SUCH_MESSAGE", "this version is no message of the conversation", metadata={"version": str(version)}
    )


def _not_too_soon(state: Conversation, profile: Profile, user_id: str, at_us: int) -> None:
    last = sender(state.senders, user_id)
    if last is None or Permission.SKIP_SLOW_MODE in permissions(profile.kind, profile.members[user_id].role):
        return
    wait_us = last[2] + profile.slow_mode_s * 1_000_000 - at_us
    if wait_us > 0:
        raise Refused(
            "SLOW_MODE",
            f"a member speaks at most every {profile.slow_mode_s} s here",
            metadata={"permission": Permission.SKIP_SLOW_MODE.value, "seconds": str(profile.slow_mode_s)},
            retry_after=wait_us / 1_000_000,
        )
