"""Who is in a conversation, in which role, and what it is called: part of `Chat`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.duration_pb2 import Duration

from tradewind.chat.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id


class Membership:
    """Methods of `Chat`; see there for `request_id` and `timeout`."""

    _connection: Connection
    _stub: chat_service_pb2_grpc.ChatServiceAsyncStub

    async def update(
        self,
        conversation_id: str,
        *,
        title: str | None = None,
        picture: str | None = None,
        attributes: Mapping[str, str] | None = None,
        remove_attributes: Iterable[str] = (),
        open: bool | None = None,
        slow_mode: int | None = None,
        message_ttl: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Call or set a conversation otherwise; what is None stays.

        `slow_mode`: seconds between two messages of a member, 0 for none. `message_ttl`: seconds that a message lasts, 0 for ever.
        """
        request = chat_service_pb2.UpdateConversationRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            title=title,
            picture=picture,
            attributes=attributes or {},
            remove_attributes=remove_attributes,
            open=open,
            slow_mode_seconds=slow_mode,
            message_ttl_seconds=message_ttl,
        )
        return (await self._connection.unary(self._stub.UpdateConversation, request, timeout)).conversation

    async def join(
        self, conversation_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> chat_pb2.Conversation:
        """Join an open group as a member, an open channel as a reader. Raises NotFound where it is not open."""
        request = chat_service_pb2.JoinConversationRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id
        )
        return (await self._connection.unary(self._stub.JoinConversation, request, timeout)).conversation

    async def leave(self, conversation_id: str, *, request_id: str | None = None, timeout: float | None = None) -> None:
        """Leave a group or a channel."""
        request = chat_service_pb2.LeaveConversationRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id
        )
        await self._connection.unary(self._stub.LeaveConversation, request, timeout)

    async def list_bans(self, conversation_id: str, *, timeout: float | None = None) -> list[chat_service_pb2.Ban]:
        """List who may not be in a conversation."""
        request = chat_service_pb2.ListBansRequest(conversation_id=conversation_id)
        return list((await self._connection.unary(self._stub.ListBans, request, timeout)).bans)

    async def add_members(
        self,
        conversation_id: str,
        user_ids: Iterable[str],
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Add at most 1,000 members."""
        request = chat_service_pb2.AddMembersRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id, user_ids=user_ids
        )
        return (await self._connection.unary(self._stub.AddMembers, request, timeout)).conversation

    async def remove_members(
        self,
        conversation_id: str,
        user_ids: Iterable[str],
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Remove at most 1,000 members."""
        request = chat_service_pb2.RemoveMembersRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id, user_ids=user_ids
        )
        return (await self._connection.unary(self._stub.RemoveMembers, request, timeout)).conversation

    async def set_role(
        self,
        conversation_id: str,
        user_id: str,
        role: chat_pb2.MemberRole.ValueType,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Give a member another role. Raises PermissionDenied unless the caller stands above both."""
        request = chat_service_pb2.SetMemberRoleRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            user_id=user_id,
            role=role,
        )
        return (await self._connection.unary(self._stub.SetMemberRole, request, timeout)).conversation

    async def ban_member(
        self,
        conversation_id: str,
        user_id: str,
        *,
        seconds: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Keep a user out, for `seconds` or for ever. A member is removed."""
        request = chat_service_pb2.BanMemberRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            user_id=user_id,
            duration=None if seconds is None else Duration(seconds=seconds),
        )
        return (await self._connection.unary(self._stub.BanMember, request, timeout)).conversation

    async def unban_member(
        self,
        conversation_id: str,
        user_id: str,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Let a user in again."""
        request = chat_service_pb2.UnbanMemberRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            user_id=user_id,
        )
        return (await self._connection.unary(self._stub.UnbanMember, request, timeout)).conversation

    async def mute_member(
        self,
        conversation_id: str,
        user_id: str,
        *,
        seconds: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Take the word from a member, for `seconds` or for ever."""
        request = chat_service_pb2.MuteMemberRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            user_id=user_id,
            duration=None if seconds is None else Duration(seconds=seconds),
        )
        return (await self._connection.unary(self._stub.MuteMember, request, timeout)).conversation

    async def unmute_member(
        self,
        conversation_id: str,
        user_id: str,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Give it back."""
        request = chat_service_pb2.UnmuteMemberRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            user_id=user_id,
        )
        return (await self._connection.unary(self._stub.UnmuteMember, request, timeout)).conversation
