"""Invitations: part of `Chat`."""

from __future__ import annotations

import secrets

from google.protobuf.duration_pb2 import Duration

from tradewind.chat.v1 import chat_pb2, invitation_service_pb2, invitation_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id


class Invitations:
    """Methods of `Chat`; see there for `request_id` and `timeout`."""

    _connection: Connection

    @property
    def _invitations(self) -> invitation_service_pb2_grpc.InvitationServiceAsyncStub:
        return invitation_service_pb2_grpc.InvitationServiceStub(self._connection.channel)

    async def create_invitation(
        self,
        conversation_id: str,
        *,
        role: int = chat_pb2.MEMBER_ROLE_MEMBER,
        expire_after: float | None = None,
        max_uses: int = 0,
        secret: bytes | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> invitation_service_pb2.CreateInvitationResponse:
        """Make an invitation; the answer has its token, which nobody can ask for again.

        `role`: member or reader. `expire_after`: in seconds, for ever without it. `max_uses`: 0 for any number. Who may want to repeat it
        after a crash of its own remembers `secret` (at least 16 random bytes) beside `request_id`.
        """
        lasts = None
        if expire_after is not None:
            lasts = Duration()
            lasts.FromNanoseconds(round(expire_after * 1e9))
        request = invitation_service_pb2.CreateInvitationRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            secret=secret or secrets.token_bytes(32),
            role=role,  # type: ignore[arg-type]
            expire_after=lasts,
            max_uses=max_uses,
        )
        return await self._connection.unary(self._invitations.CreateInvitation, request, timeout)

    async def list_invitations(
        self, conversation_id: str, *, timeout: float | None = None
    ) -> list[invitation_service_pb2.Invitation]:
        """List a conversation's invitations, oldest first, without their tokens."""
        request = invitation_service_pb2.ListInvitationsRequest(conversation_id=conversation_id)
        return list((await self._connection.unary(self._invitations.ListInvitations, request, timeout)).invitations)

    async def revoke_invitation(
        self, conversation_id: str, invitation_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> invitation_service_pb2.Invitation:
        """Take an invitation back; who joined by it stays."""
        request = invitation_service_pb2.RevokeInvitationRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id, invitation_id=invitation_id
        )
        return (await self._connection.unary(self._invitations.RevokeInvitation, request, timeout)).invitation

    async def get_invitation(
        self, token: str, *, timeout: float | None = None
    ) -> invitation_service_pb2.GetInvitationResponse:
        """Get what one sees of a conversation before joining it. Raises NotFound for a token that is none."""
        request = invitation_service_pb2.GetInvitationRequest(token=token)
        return await self._connection.unary(self._invitations.GetInvitation, request, timeout)

    async def join_by_invitation(
        self, token: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> chat_pb2.Conversation:
        """Join a conversation by what opens it."""
        request = invitation_service_pb2.JoinByInvitationRequest(request_id=request_id or new_request_id(), token=token)
        return (await self._connection.unary(self._invitations.JoinByInvitation, request, timeout)).conversation
