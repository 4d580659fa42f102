"""What is said: what is decided about it."""

from __future__ import annotations

from collections.abc import Sequence

from services.chat.domain.amending import no_such_message
from services.chat.domain.commands import PostSystemMessage, Said, SendMessage
from services.chat.domain.conversation import Conversation, Profile, lasts
from services.chat.domain.events import About, Event, MessageSent, Role, SystemMessagePosted
from services.chat.domain.permissions import Permission, lacking, permissions, stranger
from services.chat.domain.recent import fact, replies
from services.chat.domain.refusals import Refused, kept_out, no_such_attachment, not_a_member, not_found
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
    about = None if command.said is None else _about(state, profile, member.role, command.said)
    lasts_us = (command.said.expire_after_us if command.said is not None else 0) or profile.message_ttl_s * 1_000_000
    if lasts_us:
        about = (about or About())._replace(expires_us=command.at_us + lasts_us)
    if profile.slow_mode_s:
        _not_too_soon(state, profile, command.actor, command.at_us)
    number = state.messages + 1
    return (MessageSent(command.at_us, command.actor, command.acting_service, command.content, number, about),)


def _about(state: Conversation, profile: Profile, role: Role, said: Said) -> About:
    if (said.to_all or said.here is not None) and Permission.MENTION_ALL not in permissions(profile.kind, role):
        raise lacking(Permission.MENTION_ALL, role)
    if said.missing_attachment:
        raise no_such_attachment(said.missing_attachment)
    if not said.thread_root:
        return About(0, 0, said.mentions, said.to_all, 0, said.attachments, said.here or ())
    if said.root is None:
        raise no_such_message(said.thread_root)
    if said.root.thread_root:
        raise Refused("INVALID_FIELD", "a message of a thread has no thread of its own", field="content.thread_root")
    count = fact(state.recent, replies(said.thread_root), said.known) + 1
    return About(said.thread_root, count, said.mentions, said.to_all, 0, said.attachments, said.here or ())


def tell(state: Conversation, command: PostSystemMessage) -> Sequence[Event]:
    """Post a service's word."""
    if state.profile is None:
        raise not_found()
    return (SystemMessagePosted(command.at_us, command.acting_service, command.code, command.text, command.attributes),)


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
