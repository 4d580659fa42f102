"""Reports, their review, and users who may do nothing in a tenant's Chat: part of `Chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tradewind.chat.v1 import moderation_pb2, moderation_service_pb2, moderation_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Frame, resuming


class Moderating:
    """Methods of `Chat`; see there for `request_id` and `timeout`. All but `report_message` are for roles `admin` and `service`."""

    _connection: Connection

    @property
    def _moderation(self) -> moderation_service_pb2_grpc.ModerationServiceAsyncStub:
        return moderation_service_pb2_grpc.ModerationServiceStub(self._connection.channel)

    async def report_message(
        self,
        conversation_id: str,
        message_version: int,
        reason: moderation_pb2.ReportReason.ValueType,
        text: str = "",
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Report a message to those who moderate the tenant; once, again changes nothing."""
        request = moderation_service_pb2.ReportMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
            reason=reason,
            text=text,
        )
        await self._connection.unary(self._moderation.ReportMessage, request, timeout)

    async def list_reports(
        self, *, resolved: bool = False, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[moderation_pb2.ReportedMessage, None]:
        """Iterate over the reported messages that wait, the one reported first first; or over those that were dealt with."""
        token = ""
        while True:
            request = moderation_service_pb2.ListReportsRequest(
                resolved=resolved, page_size=page_size, page_token=token
            )
            page = await self._connection.unary(self._moderation.ListReports, request, timeout)
            for report in page.reports:
                yield report
            token = page.next_page_token
            if not token:
                return

    async def resolve_report(
        self,
        conversation_id: str,
        message_version: int,
        resolution: moderation_pb2.ReportResolution.ValueType,
        *,
        note: str = "",
        ban_seconds: float | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> moderation_pb2.ReportedMessage:
        """Deal with a reported message; `ban_seconds`: for how long its author is banned, without it for ever.

        Raises FailedPrecondition (REPORT_RESOLVED) where another did so before.
        """
        request = moderation_service_pb2.ResolveReportRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
            resolution=resolution,
            note=note,
        )
        if ban_seconds is not None:
            request.ban_duration.FromNanoseconds(round(ban_seconds * 1e9))
        return (await self._connection.unary(self._moderation.ResolveReport, request, timeout)).report

    def watch_reports(self) -> AsyncGenerator[moderation_pb2.ReportedMessage, None]:
        """Iterate over the review queue as it is and as it changes, for ever, over any number of reconnects; see the contract."""

        def open_call(**context: object) -> object:
            request = moderation_service_pb2.WatchReportsRequest()
            return self._moderation.WatchReports(request, **context)  # type: ignore[arg-type]

        def read(frame: moderation_service_pb2.WatchReportsResponse) -> Frame:
            away = max(1, frame.going_away.reconnect_after_ms) if frame.HasField("going_away") else 0
            return Frame(frame.reports, away)

        return resuming(self._connection, open_call, read, ends=False)

    async def ban_user(
        self,
        user_id: str,
        *,
        seconds: float | None = None,
        reason: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> moderation_pb2.BannedUser:
        """Ban a user from all of the tenant's Chat, for a time or for ever."""
        request = moderation_service_pb2.BanUserRequest(
            request_id=request_id or new_request_id(), user_id=user_id, reason=reason
        )
        if seconds is not None:
            request.duration.FromNanoseconds(round(seconds * 1e9))
        return (await self._connection.unary(self._moderation.BanUser, request, timeout)).banned_user

    async def unban_user(self, user_id: str, *, request_id: str | None = None, timeout: float | None = None) -> None:
        """Let a user do again what it may."""
        request = moderation_service_pb2.UnbanUserRequest(request_id=request_id or new_request_id(), user_id=user_id)
        await self._connection.unary(self._moderation.UnbanUser, request, timeout)

    async def list_banned_users(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[moderation_pb2.BannedUser, None]:
        """Iterate over who is banned now, by user id."""
        token = ""
        while True:
            request = moderation_service_pb2.ListBannedUsersRequest(page_size=page_size, page_token=token)
            page = await self._connection.unary(self._moderation.ListBannedUsers, request, timeout)
            for banned in page.banned_users:
                yield banned
            token = page.next_page_token
            if not token:
                return
