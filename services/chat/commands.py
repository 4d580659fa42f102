"""From checked requests to domain commands, each with the name (request id and fingerprint) that makes repeating it harmless."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Final, TypedDict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import domain, wire
from services.chat.access import Actor
from services.ledger.decider import Request
from services.ledger.ids import AggregateId, derive_id, fingerprint
from services.ledger.varint import read_varint

KIND: Final = "conversation"
_TEXT: Final = b"\x0a"  # tag of MessageContent.text
_PLAIN_BYTES: Final = 16_384  # what MessageContent.text may hold
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z").match
Seal = Callable[[AggregateId, str, bytes], bytes | None]
"""Seals what a user says in a conversation; None where it would have to wait."""
MAX_CONTENT_BYTES: Final = 40 * 1024
"""A message within the contract's rules is smaller; more is only what this release does not know."""
MAX_IDS_BYTES: Final = 512 * 1024
"""What one event may hold of user ids, so that it fits into a message of the log."""


def now_us() -> int:
    """Give the time in microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def aggregate_of(actor: Actor, conversation_id: str) -> AggregateId:
    """Name a conversation of the actor's tenant."""
    return AggregateId(actor.tenant, KIND, conversation_id)


def create(
    request: pb.CreateConversationRequest, actor: Actor, at_us: int, traceparent: str | None
) -> tuple[AggregateId, domain.CreateConversation, Request]:
    """Turn a request to begin a conversation into its command, and name the conversation. Raises domain.Refused."""
    kind = wire.kind_of(request.kind)
    ids = (
        tuple(request.member_ids) if actor.is_service else (actor.user_id, *_without(request.member_ids, actor.user_id))
    )
    _check_ids(ids, "member_ids")
    if kind is domain.Kind.DIRECT:
        if len(ids) != 2:
            raise domain.Refused(
                "INVALID_FIELD", "a direct conversation is between two different people", field="member_ids"
            )
        conversation_id = domain.direct_id(actor.tenant, *ids)
        members = tuple((user_id, domain.Role.OWNER) for user_id in ids)
    else:
        if not ids:
            raise domain.Refused("INVALID_FIELD", "somebody must own the group", field="member_ids")
        conversation_id = _derived(request.request_id, actor)
        owner = (ids[0], domain.Role.OWNER)
        members = (owner, *((user_id, domain.Role.MEMBER) for user_id in ids[1:]))
    command = domain.CreateConversation(
        at_us,
        actor.user_id,
        kind,
        members,
        request.title,
        dict(request.attributes),
        request.picture,
        request.open,
        request.slow_mode_seconds,
        meets_existing=kind is domain.Kind.DIRECT,
        message_ttl_s=request.message_ttl_seconds,
        acting_service=actor.acting_service,
    )
    return aggregate_of(actor, conversation_id), command, named(request, actor, traceparent)


def add(request: pb.AddMembersRequest, actor: Actor, at_us: int) -> domain.AddMembers:
    """Turn a request to add members into its command. Raises domain.Refused."""
    _check_ids(tuple(request.user_ids), "user_ids")
    return domain.AddMembers(at_us, actor.user_id, tuple(request.user_ids), **how(actor))


def remove(request: pb.RemoveMembersRequest, actor: Actor, at_us: int) -> domain.RemoveMembers:
    """Turn a request to remove members into its command. Raises domain.Refused."""
    _check_ids(tuple(request.user_ids), "user_ids")
    return domain.RemoveMembers(at_us, actor.user_id, tuple(request.user_ids), **how(actor))


def change(request: pb.UpdateConversationRequest, actor: Actor, at_us: int) -> domain.ChangeConversation:
    """Turn a request to call or set a conversation otherwise into its command."""
    return domain.ChangeConversation(
        at_us,
        actor.user_id,
        request.title if request.HasField("title") else None,
        request.picture if request.HasField("picture") else None,
        dict(request.attributes),
        tuple(request.remove_attributes),
        request.open if request.HasField("open") else None,
        request.slow_mode_seconds if request.HasField("slow_mode_seconds") else None,
        request.message_ttl_seconds if request.HasField("message_ttl_seconds") else None,
        **how(actor),
    )


def join(_request: pb.JoinConversationRequest, actor: Actor, at_us: int) -> domain.Join:
    """Turn a request to join into its command."""
    return domain.Join(at_us, actor.user_id, **how(actor))


def leave(_request: pb.LeaveConversationRequest, actor: Actor, at_us: int) -> domain.RemoveMembers:
    """Turn a request to leave into its command."""
    return domain.RemoveMembers(at_us, actor.user_id, (actor.user_id,), **how(actor))


def set_role(request: pb.SetMemberRoleRequest, actor: Actor, at_us: int) -> domain.SetRole:
    """Turn a request to change a role into its command."""
    return domain.SetRole(at_us, actor.user_id, request.user_id, wire.role_of(request.role), **how(actor))


def ban(request: pb.BanMemberRequest, actor: Actor, at_us: int) -> domain.Ban:
    """Turn a request to keep a user out into its command."""
    return domain.Ban(at_us, actor.user_id, request.user_id, _end(request, at_us), **how(actor))


def unban(request: pb.UnbanMemberRequest, actor: Actor, at_us: int) -> domain.Unban:
    """Turn a request to let a user in again into its command."""
    return domain.Unban(at_us, actor.user_id, request.user_id, **how(actor))


def mute(request: pb.MuteMemberRequest, actor: Actor, at_us: int) -> domain.Mute:
    """Turn a request to take the word from a member into its command."""
    return domain.Mute(at_us, actor.user_id, request.user_id, _end(request, at_us), **how(actor))


def unmute(request: pb.UnmuteMemberRequest, actor: Actor, at_us: int) -> domain.Unmute:
    """Turn a request to give the word back into its command."""
    return domain.Unmute(at_us, actor.user_id, request.user_id, **how(actor))


def unpin(request: pb.UnpinMessageRequest, actor: Actor, at_us: int) -> domain.UnpinMessage:
    """Turn a request to pin a message no more into its command."""
    return domain.UnpinMessage(at_us, actor.user_id, request.message_version, **how(actor))


class How(TypedDict):
    """How an actor acts."""

    oversees: bool
    acting_service: str


def how(actor: Actor) -> How:
    """Give what every command of an actor says of it."""
    return {"oversees": actor.oversees, "acting_service": actor.acting_service}


def _end(request: pb.BanMemberRequest | pb.MuteMemberRequest, at_us: int) -> int:
    """Give when something ends; 0: never. The first try's time stands, however late it is repeated."""
    lasts: Duration = request.duration
    return at_us + lasts.seconds * 1_000_000 + lasts.nanos // 1000 if request.HasField("duration") else 0


def send(
    request: pb.SendMessageRequest,
    actor: Actor,
    at_us: int,
    traceparent: str | None,
    unknown_reply: int = 0,
    said: domain.Said | None = None,
) -> tuple[domain.SendMessage, Request]:
    """Turn a request to say something into its command; ``unknown_reply`` and ``said`` were looked up. Raises domain.Refused."""
    content = checked(request.content)
    user_id = actor.user_id
    return (
        domain.SendMessage(at_us, user_id, content, unknown_reply, actor.oversees, actor.acting_service, said),
        Request(request.request_id, fingerprint(content, user_id), traceparent),
    )


def checked(said: chat_pb2.MessageContent) -> bytes:
    """Give a content's bytes if it may be said. Raises domain.Refused (INVALID_FIELD)."""
    content = said.SerializeToString(deterministic=True)
    # Fields are written in their order and an empty text is not written: cheaper than asking for a text that is only carried.
    if content[:1] != _TEXT and not said.attributes and not said.parts:
        raise domain.Refused(
            "INVALID_FIELD", "a message without attributes and parts needs a text", field="content.text"
        )
    if len(content) > MAX_CONTENT_BYTES:
        raise domain.Refused("INVALID_FIELD", f"a message is at most {MAX_CONTENT_BYTES} bytes", field="content")
    if said.HasField("forwarded"):
        raise domain.Refused("INVALID_FIELD", "only ForwardMessage says where it is from", field="content.forwarded")
    if said.mentions.here_user_ids or said.mentions.here_counted:
        raise domain.Refused("INVALID_FIELD", "only the server says who is here", field="content.mentions")
    if said.sealed or said.erased:
        raise domain.Refused("INVALID_FIELD", "only the server seals and erases", field="content.sealed")
    return content


def edited(request: pb.EditMessageRequest, said: chat_pb2.MessageContent) -> bytes:
    """Give what a message says after an edit: the new words where the old ones stood. Raises domain.Refused (INVALID_FIELD)."""
    wanted = request.content
    if wanted.reply_to or wanted.thread_root:
        raise domain.Refused("INVALID_FIELD", "an edit leaves a message in its place", field="content.reply_to")
    if wanted.HasField("expire_after"):
        raise domain.Refused("INVALID_FIELD", "an edit leaves a message its time", field="content.expire_after")
    checked(wanted)
    after = chat_pb2.MessageContent()
    after.CopyFrom(wanted)
    after.reply_to.extend(said.reply_to)
    after.thread_root = said.thread_root
    for name in ("forwarded", "expire_after"):
        if said.HasField(name):
            getattr(after, name).CopyFrom(getattr(said, name))
    return after.SerializeToString(deterministic=True)


def plain_send(
    request: pb.SendMessageRequest,
    aggregate: AggregateId,
    actor: Actor,
    at_us: int,
    traceparent: str | None,
    seal: Seal,
) -> tuple[AggregateId, domain.SendMessage, Request] | None:
    """Turn the plainest request into its command at the least cost: the caller's own words and nothing else, in a known conversation.

    Of such a request the few field rules that apply are checked right here. None: it is not plain, and may be invalid, or ``seal`` cannot
    seal it without waiting.
    """
    request_id = request.request_id
    if request.sender_id or _UUID(request_id) is None:
        return None
    content = request.content.SerializeToString()
    if content[:1] != _TEXT or len(content) > _PLAIN_BYTES:
        return None
    size, begins = read_varint(content, 1)
    if begins + size != len(content):
        return None  # there is more than a text
    user_id = actor.user_id
    sealed = seal(aggregate, user_id, content)
    if sealed is None:
        return None
    return (
        aggregate,
        domain.SendMessage(at_us, user_id, sealed, 0, actor.oversees, actor.acting_service),
        Request(request_id, fingerprint(content, user_id), traceparent),
    )


def named(request: Message, actor: Actor, traceparent: str | None) -> Request:
    """Name a command after the request that it came with: the same request again is the same command."""
    content = request.SerializeToString(deterministic=True)
    request_id: str = request.request_id  # type: ignore[attr-defined]
    return Request(request_id, fingerprint(type(request).__name__, content, actor.user_id), traceparent)


def _derived(request_id: str, actor: Actor) -> str:
    try:
        return derive_id(request_id, actor.tenant, actor.user_id, KIND)
    except ValueError:
        raise domain.Refused(
            "INVALID_FIELD", "the request id must be a UUID of version 7", field="request_id"
        ) from None


def _without(ids: Iterable[str], user_id: str) -> tuple[str, ...]:
    return tuple(other for other in ids if other != user_id)


def _check_ids(ids: tuple[str, ...], name: str) -> None:
    if sum(len(user_id.encode()) + 16 for user_id in ids) > MAX_IDS_BYTES:
        raise domain.Refused("INVALID_FIELD", "the user ids are too long in all", field=name)
