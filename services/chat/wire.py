"""Between the contract's messages and the domain: events in and out, conversations and messages as answers show them.

A sent message, the one thing that happens often, is put together from bytes by hand: its content is carried through as it
was checked, and around it stand few fields. Everything else goes through protobuf.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import chat_pb2

from services.chat import domain
from services.ledger.varint import field, varint

_KINDS: Final = {
    domain.Kind.DIRECT: chat_pb2.CONVERSATION_KIND_DIRECT,
    domain.Kind.GROUP: chat_pb2.CONVERSATION_KIND_GROUP,
}
_KINDS_BACK: Final[Mapping[int, domain.Kind]] = {number: kind for kind, number in _KINDS.items()}
_ROLES: Final = {
    domain.Role.OWNER: chat_pb2.MEMBER_ROLE_OWNER,
    domain.Role.MEMBER: chat_pb2.MEMBER_ROLE_MEMBER,
}
_ROLES_BACK: Final[Mapping[int, domain.Role]] = {number: role for role, number in _ROLES.items()}

# Fields of ConversationEvent; the stubs' tests hold these to the contract.
_VERSION: Final = b"\x08"
_EVENT_TIME: Final = 2
_ACTOR: Final = 3
_ACTING_SERVICE: Final = 4
_MESSAGE: Final = b"\x6a"


def kind_of(number: int) -> domain.Kind:
    """Give the domain's kind of a checked request."""
    return _KINDS_BACK[number]


def encode(event: domain.Event, version: int) -> bytes:
    """Give the public event message's bytes: what log, store and watchers hold."""
    if type(event) is domain.MessageSent:
        at_us, actor, acting_service, content = event
        return b"".join(
            (
                _VERSION,
                varint(version),
                _head(at_us, actor, acting_service),
                _MESSAGE,
                varint(len(content)),
                content,
            )
        )
    return _message_of(event, version).SerializeToString(deterministic=True)


@lru_cache(maxsize=4096)
def _head(at_us: int, actor: str, acting_service: str) -> bytes:
    # One sender's messages of one frame share time and sender.
    parts = field(_EVENT_TIME, timestamp_bytes(at_us)) + field(_ACTOR, actor.encode())
    return parts + field(_ACTING_SERVICE, acting_service.encode()) if acting_service else parts


@lru_cache(maxsize=1024)
def timestamp_bytes(at_us: int) -> bytes:
    """Encode microseconds since the Unix epoch as a google.protobuf.Timestamp."""
    return timestamp(at_us).SerializeToString()


def timestamp(at_us: int) -> Timestamp:
    """Give microseconds since the Unix epoch as a Timestamp."""
    return Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1000)


def microseconds(at: Timestamp) -> int:
    """Give a Timestamp as microseconds since the Unix epoch."""
    return at.seconds * 1_000_000 + at.nanos // 1000


def _message_of(event: domain.Event, version: int) -> chat_pb2.ConversationEvent:
    message = chat_pb2.ConversationEvent(version=version, event_time=timestamp(event.at_us))
    message.acting_service = event.acting_service
    if isinstance(event, domain.SystemMessagePosted):
        message.system_message.code = event.code
        message.system_message.text = event.text
        message.system_message.attributes.update(event.attributes)
        return message
    message.actor_id = event.actor
    if isinstance(event, domain.ConversationCreated):
        message.created.kind = _KINDS[event.kind]
        message.created.title = event.title
        message.created.members.extend(_members(event.members, version))
        message.created.attributes.update(event.attributes)
    elif isinstance(event, domain.MembersAdded):
        message.members_added.members.extend(_members(event.members, version))
    elif isinstance(event, domain.MembersRemoved):
        message.members_removed.user_ids.extend(event.user_ids)
    else:
        raise TypeError(f"no event of a conversation: {type(event).__name__}")
    return message


def _members(members: Iterable[tuple[str, domain.Role]], version: int) -> list[chat_pb2.Member]:
    return [chat_pb2.Member(user_id=user_id, role=_ROLES[role], since_version=version) for user_id, role in members]


def decode(payload: bytes) -> domain.Event:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = chat_pb2.ConversationEvent.FromString(payload)
    at_us, actor, acting = microseconds(message.event_time), message.actor_id, message.acting_service
    which = message.WhichOneof("event")
    if which == "message":
        return domain.MessageSent(at_us, actor, acting, content_bytes(message.message))
    if which == "system_message":
        told = message.system_message
        return domain.SystemMessagePosted(at_us, acting, told.code, told.text, dict(told.attributes))
    if which == "created":
        begun = message.created
        members = _pairs(begun.members)
        kind = _KINDS_BACK[begun.kind]
        return domain.ConversationCreated(at_us, actor, acting, kind, begun.title, members, dict(begun.attributes))
    if which == "members_added":
        return domain.MembersAdded(at_us, actor, acting, _pairs(message.members_added.members))
    if which == "members_removed":
        return domain.MembersRemoved(at_us, actor, acting, tuple(message.members_removed.user_ids))
    raise ValueError("an event of a kind that this release does not know")


def _pairs(members: Iterable[chat_pb2.Member]) -> tuple[tuple[str, domain.Role], ...]:
    return tuple((member.user_id, _ROLES_BACK[member.role]) for member in members)


def content_bytes(content: chat_pb2.MessageContent) -> bytes:
    """Encode what was said so that equal contents are equal bytes."""
    return content.SerializeToString(deterministic=True)


def conversation(conversation_id: str, state: domain.Conversation) -> chat_pb2.Conversation:
    """Show a conversation as it stands. Raises domain.Refused (NOT_FOUND) where none was ever created."""
    profile = state.profile
    if profile is None:
        raise domain.not_found()
    return chat_pb2.Conversation(
        conversation_id=conversation_id,
        kind=_KINDS[profile.kind],
        title=profile.title,
        members=[
            chat_pb2.Member(user_id=user_id, role=_ROLES[member.role], since_version=member.since_version)
            for user_id, member in profile.members.items()
        ],
        version=state.version,
        create_time=timestamp(profile.created_us),
        update_time=timestamp(state.updated_us),
        attributes=profile.attributes,
    )


def message(payload: bytes) -> chat_pb2.Message | None:
    """Show an event as a message; None where it is none. A system message has no sender and its code as attribute "code"."""
    event = chat_pb2.ConversationEvent.FromString(payload)
    which = event.WhichOneof("event")
    shown = chat_pb2.Message(version=event.version, sender_id=event.actor_id, send_time=event.event_time)
    if which == "message":
        shown.content.CopyFrom(event.message)
        return shown
    if which != "system_message":
        return None
    told = event.system_message
    shown.content.text = told.text
    shown.content.attributes.update(_with_code(told.attributes, told.code))
    return shown


def _with_code(attributes: Mapping[str, str], code: str) -> dict[str, str]:
    return {**attributes, "code": code}


def time_of(payload: bytes) -> int:
    """Read when an event happened, in microseconds since the Unix epoch."""
    return microseconds(chat_pb2.ConversationEvent.FromString(payload).event_time)
