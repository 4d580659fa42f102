"""Messages that are sent later: part of `Chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tradewind.chat.v1 import chat_pb2, schedule_service_pb2, schedule_service_pb2_grpc
from tradewind.sdk._chat_messages import content_of
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id


class Schedule:
    """Methods of `Chat`; see there for `request_id` and `timeout`."""

    _connection: Connection

    @property
    def _schedule(self) -> schedule_service_pb2_grpc.ScheduleServiceAsyncStub:
        return schedule_service_pb2_grpc.ScheduleServiceStub(self._connection.channel)

    async def schedule_message(
        self,
        conversation_id: str,
        text: str,
        send_time: datetime,
        *,
        reply_to: Iterable[int] = (),
        thread_root: int = 0,
        mentions: Iterable[str] = (),
        mention_all: bool = False,
        mention_here: bool = False,
        parts: Iterable[chat_pb2.Part] = (),
        attributes: Mapping[str, str] | None = None,
        expire_after: float | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> schedule_service_pb2.ScheduledMessage:
        """Have something said at a time, at most a year ahead; `expire_after` (seconds) counts from when it is sent."""
        request = schedule_service_pb2.ScheduleMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            content=content_of(
                text,
                reply_to=reply_to,
                thread_root=thread_root,
                mentions=mentions,
                mention_all=mention_all,
                mention_here=mention_here,
                parts=parts,
                attributes=attributes,
                expire_after=expire_after,
            ),
            send_time=_timestamp(send_time),
        )
        return (await self._connection.unary(self._schedule.ScheduleMessage, request, timeout)).scheduled_message

    async def list_scheduled_messages(
        self, conversation_id: str = "", *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[schedule_service_pb2.ScheduledMessage, None]:
        """Iterate over the caller's messages that were not sent, earliest first: those that wait, and those that failed."""
        token = ""
        while True:
            request = schedule_service_pb2.ListScheduledMessagesRequest(
                conversation_id=conversation_id, page_size=page_size, page_token=token
            )
            page = await self._connection.unary(self._schedule.ListScheduledMessages, request, timeout)
            for each in page.scheduled_messages:
                yield each
            token = page.next_page_token
            if not token:
                return

    async def update_scheduled_message(
        self,
        scheduled_id: str,
        *,
        content: chat_pb2.MessageContent | None = None,
        send_time: datetime | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> schedule_service_pb2.ScheduledMessage:
        """Have something else said, or at another time."""
        request = schedule_service_pb2.UpdateScheduledMessageRequest(
            request_id=request_id or new_request_id(),
            scheduled_id=scheduled_id,
            content=content,
            send_time=_timestamp(send_time) if send_time is not None else None,
        )
        return (await self._connection.unary(self._schedule.UpdateScheduledMessage, request, timeout)).scheduled_message

    async def cancel_scheduled_message(
        self, scheduled_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> None:
        """Have it not sent. Raises FailedPrecondition (SCHEDULED_SEND_BEGUN) where it is too late."""
        request = schedule_service_pb2.CancelScheduledMessageRequest(
            request_id=request_id or new_request_id(), scheduled_id=scheduled_id
        )
        await self._connection.unary(self._schedule.CancelScheduledMessage, request, timeout)


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
