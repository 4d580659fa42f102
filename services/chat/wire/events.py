"""A conversation's events: out of the domain as the public event message's bytes, and in again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tradewind.chat.v1 import chat_pb2

from services.chat import domain
from services.chat.wire import timed
from services.chat.wire.numbers import microseconds, timestamp, until
from services.chat.wire.said import content_bytes, decode_said, encode_said

KINDS: Final = {
    domain.Kind.DIRECT: chat_pb2.CONVERSATION_KIND_DIRECT,
    domain.Kind.GROUP: chat_pb2.CONVERSATION_KIND_GROUP,
    domain.Kind.CHANNEL: chat_pb2.CONVERSATION_KIND_CHANNEL,
}
_KINDS_BACK: Final[Mapping[int, domain.Kind]] = {number: kind for kind, number in KINDS.items()}
ROLES: Final = {
    domain.Role.OWNER: chat_pb2.MEMBER_ROLE_OWNER,
    domain.Role.ADMIN: chat_pb2.MEMBER_ROLE_ADMIN,
    domain.Role.MODERATOR: chat_pb2.MEMBER_ROLE_MODERATOR,
    domain.Role.MEMBER: chat_pb2.MEMBER_ROLE_MEMBER,
    domain.Role.READER: chat_pb2.MEMBER_ROLE_READER,
}
_ROLES_BACK: Final[Mapping[int, domain.Role]] = {number: role for role, number in ROLES.items()}
_Message = chat_pb2.ConversationEvent


def kind_of(number: int) -> domain.Kind:
    """Give the domain's kind of a checked request."""
    return _KINDS_BACK[number]


def role_of(number: int) -> domain.Role:
    """Give the domain's role of a checked request."""
    return _ROLES_BACK[number]


def encode(event: domain.Event, version: int) -> bytes:
    """Give the public event message's bytes: what log, store and watchers hold."""
    if type(event) is domain.MessageSent:
        return encode_said(event, version)
    message = _Message(version=version, event_time=timestamp(event.at_us), message_count=event.messages)
    message.acting_service = event.acting_service
    if isinstance(event, domain.SystemMessagePosted):
        message.system_message.code = event.code
        message.system_message.text = event.text
        message.system_message.attributes.update(event.attributes)
    else:
        message.actor_id = event.actor
        _ENCODES[type(event)](event, message)
    return message.SerializeToString(deterministic=True)


def _created(event: domain.ConversationCreated, message: _Message) -> None:
    begun = message.created
    begun.kind = KINDS[event.kind]
    begun.title = event.title
    begun.members.extend(_members(event.members, message.version))
    begun.attributes.update(event.attributes)
    begun.picture = event.picture
    begun.open = event.open
    begun.slow_mode_seconds = event.slow_mode_s
    begun.message_ttl_seconds = event.message_ttl_s


def _changed(event: domain.ConversationChanged, message: _Message) -> None:
    changed = message.changed
    changed.SetInParent()
    if event.title is not None:
        changed.title = event.title
    if event.picture is not None:
        changed.picture = event.picture
    if event.open is not None:
        changed.open = event.open
    if event.slow_mode_s is not None:
        changed.slow_mode_seconds = event.slow_mode_s
    if event.message_ttl_s is not None:
        changed.message_ttl_seconds = event.message_ttl_s
    changed.attributes.update(event.attributes)
    changed.removed_attributes.extend(event.removed_attributes)


def _added(event: domain.MembersAdded, message: _Message) -> None:
    message.members_added.members.extend(_members(event.members, message.version))


def _removed(event: domain.MembersRemoved, message: _Message) -> None:
    message.members_removed.user_ids.extend(event.user_ids)


def _role_changed(event: domain.MemberRoleChanged, message: _Message) -> None:
    message.role_changed.user_id = event.user_id
    message.role_changed.role = ROLES[event.role]


def _banned(event: domain.MemberBanned, message: _Message) -> None:
    message.banned.CopyFrom(chat_pb2.MemberBanned(user_id=event.user_id, until=until(event.until_us)))


def _unbanned(event: domain.MemberUnbanned, message: _Message) -> None:
    message.unbanned.user_id = event.user_id


def _muted(event: domain.MemberMuted, message: _Message) -> None:
    message.muted.CopyFrom(chat_pb2.MemberMuted(user_id=event.user_id, until=until(event.until_us)))


def _unmuted(event: domain.MemberUnmuted, message: _Message) -> None:
    message.unmuted.user_id = event.user_id


def _edited(event: domain.MessageEdited, message: _Message) -> None:
    message.edited.message_version = event.version
    message.edited.content.ParseFromString(event.content)
    message.edited.content.SetInParent()
    message.edited.edits = event.edits


def _deleted(event: domain.MessageDeleted, message: _Message) -> None:
    message.deleted.message_version = event.version
    message.deleted.sender_id = event.sender
    message.deleted.thread_root = event.thread_root
    message.deleted.thread_reply_count = event.thread_replies


def _pinned(event: domain.MessagePinned, message: _Message) -> None:
    message.pinned.message_version = event.version


def _unpinned(event: domain.MessageUnpinned, message: _Message) -> None:
    message.unpinned.message_version = event.version


def _reacted(event: domain.ReactionAdded | domain.ReactionRemoved, message: _Message) -> None:
    part = message.reaction_added if isinstance(event, domain.ReactionAdded) else message.reaction_removed
    part.message_version = event.version
    part.emoji = event.emoji
    part.count = event.count
    part.emojis = event.emojis


def _reaction(it: chat_pb2.ReactionAdded | chat_pb2.ReactionRemoved) -> tuple[Any, ...]:
    return it.message_version, it.emoji, it.count, it.emojis


_ENCODES: Final[Mapping[type, Callable[[Any, _Message], None]]] = {
    **timed.ENCODES,
    domain.ConversationCreated: _created,
    domain.ConversationChanged: _changed,
    domain.MembersAdded: _added,
    domain.MembersRemoved: _removed,
    domain.MemberRoleChanged: _role_changed,
    domain.MemberBanned: _banned,
    domain.MemberUnbanned: _unbanned,
    domain.MemberMuted: _muted,
    domain.MemberUnmuted: _unmuted,
    domain.MessageEdited: _edited,
    domain.MessageDeleted: _deleted,
    domain.MessagePinned: _pinned,
    domain.MessageUnpinned: _unpinned,
    domain.ReactionAdded: _reacted,
    domain.ReactionRemoved: _reacted,
}


def _members(members: Iterable[tuple[str, domain.Role]], version: int) -> list[chat_pb2.Member]:
    return [chat_pb2.Member(user_id=user_id, role=ROLES[role], since_version=version) for user_id, role in members]


def decode(payload: bytes) -> domain.Event:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = _Message.FromString(payload)
    at_us, actor, acting = microseconds(message.event_time), message.actor_id, message.acting_service
    which = message.WhichOneof("event")
    count = message.message_count
    if which == "message":
        return decode_said(message)
    if which == "system_message":
        told = message.system_message
        return domain.SystemMessagePosted(at_us, acting, told.code, told.text, dict(told.attributes), messages=count)
    if which is None:
        raise ValueError("an event of a kind that this release does not know")
    made, fields = _DECODES[which]
    return made(at_us, actor, acting, *fields(getattr(message, which)), messages=count)


def _pairs(members: Iterable[chat_pb2.Member]) -> tuple[tuple[str, domain.Role], ...]:
    return tuple((member.user_id, _ROLES_BACK[member.role]) for member in members)


def _begun(it: chat_pb2.ConversationCreated) -> tuple[Any, ...]:
    attributes = dict(it.attributes)
    kind = _KINDS_BACK[it.kind]
    settings = (it.open, it.slow_mode_seconds, it.message_ttl_seconds)
    return kind, it.title, _pairs(it.members), attributes, it.picture, *settings


def _news(it: chat_pb2.ConversationChanged) -> tuple[Any, ...]:
    return (
        it.title if it.HasField("title") else None,
        it.picture if it.HasField("picture") else None,
        dict(it.attributes),
        tuple(it.removed_attributes),
        it.open if it.HasField("open") else None,
        it.slow_mode_seconds if it.HasField("slow_mode_seconds") else None,
        it.message_ttl_seconds if it.HasField("message_ttl_seconds") else None,
    )


_DECODES: Final[Mapping[str, tuple[Callable[..., domain.Event], Callable[[Any], tuple[Any, ...]]]]] = {
    "created": (domain.ConversationCreated, _begun),
    "changed": (domain.ConversationChanged, _news),
    "members_added": (domain.MembersAdded, lambda it: (_pairs(it.members),)),
    "members_removed": (domain.MembersRemoved, lambda it: (tuple(it.user_ids),)),
    "role_changed": (domain.MemberRoleChanged, lambda it: (it.user_id, _ROLES_BACK[it.role])),
    # An end that is absent reads as 0: there is none.
    "banned": (domain.MemberBanned, lambda it: (it.user_id, microseconds(it.until))),
    "unbanned": (domain.MemberUnbanned, lambda it: (it.user_id,)),
    "muted": (domain.MemberMuted, lambda it: (it.user_id, microseconds(it.until))),
    "unmuted": (domain.MemberUnmuted, lambda it: (it.user_id,)),
    "edited": (domain.MessageEdited, lambda it: (it.message_version, content_bytes(it.content), it.edits)),
    "deleted": (
        domain.MessageDeleted,
        lambda it: (it.message_version, it.sender_id, it.thread_root, it.thread_reply_count),
    ),
    "pinned": (domain.MessagePinned, lambda it: (it.message_version,)),
    "unpinned": (domain.MessageUnpinned, lambda it: (it.message_version,)),
    "reaction_added": (domain.ReactionAdded, _reaction),
    "reaction_removed": (domain.ReactionRemoved, _reaction),
    **timed.DECODES,
}
