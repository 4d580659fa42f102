"""Conversations and messages as answers show them."""

from __future__ import annotations

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import domain
from services.chat.wire.events import KINDS, ROLES
from services.chat.wire.numbers import timestamp, until


def conversation(conversation_id: str, state: domain.Conversation, at_us: int) -> chat_pb2.Conversation:
    """Show a conversation as it stands; ``at_us`` is now, for what ends by itself.

    Raises domain.Refused (NOT_FOUND) where none was ever created.
    """
    profile = state.profile
    if profile is None:
        raise domain.not_found()
    return chat_pb2.Conversation(
        conversation_id=conversation_id,
        kind=KINDS[profile.kind],
        title=profile.title,
        members=[_member(user_id, member, profile, at_us) for user_id, member in profile.members.items()],
        version=state.version,
        create_time=timestamp(profile.created_us),
        update_time=timestamp(state.updated_us),
        attributes=profile.attributes,
        picture=profile.picture,
        open=profile.open,
        slow_mode_seconds=profile.slow_mode_s,
        pinned_versions=profile.pins,
        message_ttl_seconds=profile.message_ttl_s,
    )


def _member(user_id: str, member: domain.Member, profile: domain.Profile, at_us: int) -> chat_pb2.Member:
    shown = chat_pb2.Member(user_id=user_id, role=ROLES[member.role], since_version=member.since_version)
    if profile.mutes and domain.lasts(profile.mutes, user_id, at_us):
        shown.muted = True
        if profile.mutes[user_id]:
            shown.muted_until.CopyFrom(timestamp(profile.mutes[user_id]))
    return shown


def ban(user_id: str, until_us: int) -> pb.Ban:
    """Show a ban."""
    return pb.Ban(user_id=user_id, until=until(until_us))


def message(payload: bytes) -> chat_pb2.Message | None:
    """Show an event as a message; None where it is none. A system message has no sender and its code as attribute "code"."""
    event = chat_pb2.ConversationEvent.FromString(payload)
    which = event.WhichOneof("event")
    shown = chat_pb2.Message(version=event.version, sender_id=event.actor_id, send_time=event.event_time)
    if which == "message":
        shown.content.CopyFrom(event.message)
        if event.HasField("expire_time"):
            shown.expire_time.CopyFrom(event.expire_time)
        return shown
    if which != "system_message":
        return None
    told = event.system_message
    shown.content.text = told.text
    shown.content.attributes.update({**told.attributes, "code": told.code})
    return shown


def wording(payload: bytes) -> pb.Wording:
    """Show what a message said from the time of an event on: of its sending, or of an edit."""
    event = chat_pb2.ConversationEvent.FromString(payload)
    content = event.edited.content if event.HasField("edited") else event.message
    return pb.Wording(content=content, time=event.event_time)


def removed(payload: bytes) -> tuple[str, ...]:
    """Read who was removed by an event; nobody by most."""
    return tuple(chat_pb2.ConversationEvent.FromString(payload).members_removed.user_ids)
