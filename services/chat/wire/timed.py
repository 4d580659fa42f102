"""Events of invitations, and of messages that do not last: out of the domain and in again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tradewind.chat.v1 import chat_pb2

from services.chat import domain
from services.chat.wire.numbers import microseconds, timestamp, until

_ROLES: Final = {
    domain.Role.MEMBER: chat_pb2.MEMBER_ROLE_MEMBER,
    domain.Role.READER: chat_pb2.MEMBER_ROLE_READER,
}
_ROLES_BACK: Final[Mapping[int, domain.Role]] = {number: role for role, number in _ROLES.items()}
_Message = chat_pb2.ConversationEvent


def _invitation_created(event: domain.InvitationCreated, message: _Message) -> None:
    made = chat_pb2.InvitationCreated(
        invitation_id=event.invitation_id,
        token_sha256=bytes.fromhex(event.digest),
        role=_ROLES[event.role],
        expire_time=until(event.until_us),
        max_uses=event.max_uses,
    )
    message.invitation_created.CopyFrom(made)


def _invitation(it: chat_pb2.InvitationCreated) -> tuple[Any, ...]:
    ends_us = microseconds(it.expire_time)
    return it.invitation_id, it.token_sha256.hex(), _ROLES_BACK[it.role], ends_us, it.max_uses


def _invitation_revoked(event: domain.InvitationRevoked, message: _Message) -> None:
    message.invitation_revoked.invitation_id = event.invitation_id


def _invitation_used(event: domain.InvitationUsed, message: _Message) -> None:
    message.invitation_used.invitation_id = event.invitation_id
    message.invitation_used.uses = event.uses


def _messages_expired(event: domain.MessagesExpired, message: _Message) -> None:
    told = message.messages_expired
    told.SetInParent()
    for gone in event.messages_gone:
        told.messages.add(
            message_version=gone.version,
            sender_id=gone.sender,
            thread_root=gone.thread_root,
            thread_reply_count=gone.thread_replies,
            expire_time=timestamp(gone.expires_us),
        )
    if event.next_us:
        told.next_time.CopyFrom(timestamp(event.next_us))


def _expired(it: chat_pb2.MessagesExpired) -> tuple[Any, ...]:
    gone = tuple(
        domain.Expired(
            each.message_version,
            each.sender_id,
            each.thread_root,
            each.thread_reply_count,
            microseconds(each.expire_time),
        )
        for each in it.messages
    )
    return gone, microseconds(it.next_time)


ENCODES: Final[Mapping[type, Callable[[Any, _Message], None]]] = {
    domain.InvitationCreated: _invitation_created,
    domain.InvitationRevoked: _invitation_revoked,
    domain.InvitationUsed: _invitation_used,
    domain.MessagesExpired: _messages_expired,
}
DECODES: Final[Mapping[str, tuple[Callable[..., domain.Event], Callable[[Any], tuple[Any, ...]]]]] = {
    "invitation_created": (domain.InvitationCreated, _invitation),
    "invitation_revoked": (domain.InvitationRevoked, lambda it: (it.invitation_id,)),
    "invitation_used": (domain.InvitationUsed, lambda it: (it.invitation_id, it.uses)),
    "messages_expired": (domain.MessagesExpired, _expired),
}
