"""Chat, as methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tradewind.chat.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tradewind.sdk._chat_attachments import Attachments
from tradewind.sdk._chat_bots import Pressing
from tradewind.sdk._chat_devices import Devices
from tradewind.sdk._chat_inbox import Inbox
from tradewind.sdk._chat_invitations import Invitations
from tradewind.sdk._chat_members import Membership
from tradewind.sdk._chat_messages import Amending, content_of
from tradewind.sdk._chat_moderation import Moderating
from tradewind.sdk._chat_privacy import Privacy
from tradewind.sdk._chat_receipts import Receipts
from tradewind.sdk._chat_schedule import Schedule
from tradewind.sdk._chat_search import Searching
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Frame, Place, watching
from tradewind.sdk._session import Session


class Chat(
    Membership,
    Amending,
    Moderating,
    Pressing,
    Attachments,
    Receipts,
    Searching,
    Inbox,
    Invitations,
    Schedule,
    Devices,
    Privacy,
):
    """Conversations. Every method raises TradewindError; `timeout` is in seconds and covers all tries of a call.

    Writes take a `request_id`; without one it is made here, once, and kept over retries. Who may want to repeat a write after a crash of
    its own makes the id itself (`new_request_id`) and remembers it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = chat_service_pb2_grpc.ChatServiceStub(connection.channel)

    async def create_group(
        self,
        member_ids: Iterable[str] = (),
        *,
        title: str = "",
        attributes: Mapping[str, str] | None = None,
        picture: str = "",
        open: bool = False,
        slow_mode: int = 0,
        message_ttl: int = 0,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Start a group of the caller and these members; anybody joins it who knows its id, where it is `open`."""
        request = chat_service_pb2.CreateConversationRequest(
            request_id=request_id or new_request_id(),
            kind=chat_pb2.CONVERSATION_KIND_GROUP,
            member_ids=member_ids,
            title=title,
            attributes=attributes or {},
            picture=picture,
            open=open,
            slow_mode_seconds=slow_mode,
            message_ttl_seconds=message_ttl,
        )
        return (await self._connection.unary(self._stub.CreateConversation, request, timeout)).conversation

    async def create_channel(
        self,
        member_ids: Iterable[str] = (),
        *,
        title: str = "",
        attributes: Mapping[str, str] | None = None,
        picture: str = "",
        open: bool = False,
        slow_mode: int = 0,
        message_ttl: int = 0,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Start a channel in which the caller and these members speak; readers join it by themselves where it is `open`."""
        request = chat_service_pb2.CreateConversationRequest(
            request_id=request_id or new_request_id(),
            kind=chat_pb2.CONVERSATION_KIND_CHANNEL,
            member_ids=member_ids,
            title=title,
            attributes=attributes or {},
            picture=picture,
            open=open,
            slow_mode_seconds=slow_mode,
            message_ttl_seconds=message_ttl,
        )
        return (await self._connection.unary(self._stub.CreateConversation, request, timeout)).conversation

    async def create_direct(
        self, user_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> chat_pb2.Conversation:
        """Start the conversation with one other user, or get the one that is there."""
        request = chat_service_pb2.CreateConversationRequest(
            request_id=request_id or new_request_id(),
            kind=chat_pb2.CONVERSATION_KIND_DIRECT,
            member_ids=[user_id],
        )
        return (await self._connection.unary(self._stub.CreateConversation, request, timeout)).conversation

    async def get_conversation(self, conversation_id: str, *, timeout: float | None = None) -> chat_pb2.Conversation:
        """Get a conversation as it stands. Raises NotFound."""
        request = chat_service_pb2.GetConversationRequest(conversation_id=conversation_id)
        return (await self._connection.unary(self._stub.GetConversation, request, timeout)).conversation

    async def list_conversations(
        self, *, user_id: str = "", page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[chat_pb2.Conversation, None]:
        """Iterate over the conversations of a user (empty: the caller), newest first; pages are fetched as needed."""
        token = ""
        while True:
            request = chat_service_pb2.ListConversationsRequest(user_id=user_id, page_size=page_size, page_token=token)
            page = await self._connection.unary(self._stub.ListConversations, request, timeout)
            for conversation in page.conversations:
                yield conversation
            token = page.next_page_token
            if not token:
                return

    async def send_message(
        self,
        conversation_id: str,
        text: str,
        *,
        reply_to: Iterable[int] = (),
        thread_root: int = 0,
        mentions: Iterable[str] = (),
        mention_all: bool = False,
        mention_here: bool = False,
        parts: Iterable[chat_pb2.Part] = (),
        attributes: Mapping[str, str] | None = None,
        expire_after: float | None = None,
        sender_id: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_service_pb2.SendMessageResponse:
        """Say something; answered with its version once it cannot be lost. `sender_id` is for role `service` alone.

        `thread_root`: version of the message whose thread it is said in. `mentions`: users whom it is for in particular.
        `expire_after`: how long it lasts, in seconds.
        """
        request = chat_service_pb2.SendMessageRequest(
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
            sender_id=sender_id,
        )
        return await self._connection.unary(self._stub.SendMessage, request, timeout)

    async def list_messages(
        self,
        conversation_id: str,
        *,
        oldest_first: bool = False,
        from_version: int = 0,
        thread_root: int = 0,
        pinned_only: bool = False,
        from_time: datetime | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncGenerator[chat_pb2.Message, None]:
        """Iterate over messages beyond `from_version`, or from a time on or back, in either direction.

        Pages are fetched as needed, `timeout` is for one page. All of them, or only those of a thread, or only what is pinned.
        """
        token = ""
        since = None
        if from_time is not None:
            since = Timestamp()
            since.FromDatetime(from_time)
        while True:
            request = chat_service_pb2.ListMessagesRequest(
                conversation_id=conversation_id,
                page_size=page_size,
                page_token=token,
                oldest_first=oldest_first,
                from_version=from_version,
                thread_root=thread_root,
                pinned_only=pinned_only,
                from_time=since,
            )
            page = await self._connection.unary(self._stub.ListMessages, request, timeout)
            for message in page.messages:
                yield message
            token = page.next_page_token
            if not token:
                return

    async def messages_around(
        self, conversation_id: str, message_version: int, *, each_way: int = 25, timeout: float | None = None
    ) -> list[chat_pb2.Message]:
        """Get a message and up to `each_way` (at most 499) before and after it, oldest first."""
        before = chat_service_pb2.ListMessagesRequest(
            conversation_id=conversation_id, from_version=message_version, page_size=max(1, each_way)
        )
        since = chat_service_pb2.ListMessagesRequest(
            conversation_id=conversation_id,
            from_version=max(0, message_version - 1),
            page_size=each_way + 1,
            oldest_first=True,
        )
        older, newer = await asyncio.gather(
            self._connection.unary(self._stub.ListMessages, before, timeout),
            self._connection.unary(self._stub.ListMessages, since, timeout),
        )
        return [*reversed(older.messages), *newer.messages]

    def watch(self, conversation_id: str, after: int = 0) -> AsyncGenerator[chat_pb2.ConversationEvent, None]:
        """Iterate over a conversation's events from the one after version `after` on, for ever, over any number of reconnects.

        Each comes once and none is missing. Raises TradewindError: VersionGap, PermissionDenied once the caller is no member any more,
        Unavailable once nothing was heard for the retry policy's `stream_patience`.
        """
        place = Place(conversation_id, after)

        def open_call(**context: object) -> object:
            request = chat_service_pb2.WatchRequest(conversation_id=conversation_id, after_version=place.last)
            return self._stub.Watch(request, **context)  # type: ignore[arg-type]

        def read(frame: chat_service_pb2.WatchResponse) -> Frame:
            away = max(1, frame.going_away.reconnect_after_ms) if frame.HasField("going_away") else 0
            return Frame(frame.events, away)

        return watching(self._connection, open_call, read, place, ends=False)

    def converse(
        self, *, window: int = 512, buffer: int = 4096, timeout: float | None = None, heartbeat: int = 20
    ) -> Session:
        """Open a session, to be used with `async with`: many conversations over one stream.

        At most `window` sends and operations (up to 1,024) are unanswered; about `buffer` events wait for a slow reader; a send is
        given up, outcome unknown, after `timeout` seconds. A server that says nothing for more than three times `heartbeat` seconds
        (1 to 300) is left for another one.
        """
        wait = self._connection.timeout if timeout is None else timeout
        return Session(self._connection, window=window, buffer=buffer, timeout=wait, heartbeat=heartbeat)
