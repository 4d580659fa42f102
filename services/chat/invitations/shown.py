"""Invitations as answers show them."""

from __future__ import annotations

from typing import Final

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import invitation_service_pb2 as pb

from services.chat import domain, wire

_ROLES: Final = {
    domain.Role.MEMBER: chat_pb2.MEMBER_ROLE_MEMBER,
    domain.Role.READER: chat_pb2.MEMBER_ROLE_READER,
}
_STATES: Final = {
    "": pb.INVITATION_STATE_LASTS,
    "INVITATION_EXPIRED": pb.INVITATION_STATE_EXPIRED,
    "INVITATION_REVOKED": pb.INVITATION_STATE_REVOKED,
    "INVITATION_USED_UP": pb.INVITATION_STATE_USED_UP,
}


def shown(invitation: domain.Invitation, at_us: int) -> pb.Invitation:
    """Show an invitation as it stands at a time."""
    return pb.Invitation(
        invitation_id=invitation.id,
        role=_ROLES[invitation.role],
        creator_id=invitation.creator,
        create_time=wire.timestamp(invitation.created_us),
        expire_time=wire.timestamp(invitation.until_us) if invitation.until_us else None,
        max_uses=invitation.max_uses,
        uses=invitation.uses,
        state=_STATES[domain.ended(invitation, at_us)],
    )


def invitation_of(state: domain.Conversation, invitation_id: str) -> domain.Invitation:
    """Give a conversation's invitation by its id. Raises domain.Refused (NOT_FOUND)."""
    for each in state.profile.invitations.values() if state.profile is not None else ():
        if each.id == invitation_id:
            return each
    raise domain.no_such_invitation()
