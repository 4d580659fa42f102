"""How far everybody has got, and what is unread: part of `Chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tradewind.chat.v1 import chat_service_pb2, chat_service_pb2_grpc
from tradewind.sdk._connection import Connection


class Receipts:
    """Methods of `Chat`; see there for `timeout`. None needs a request id: cursors only rise."""

    _connection: Connection
    _stub: chat_service_pb2_grpc.ChatServiceAsyncStub

    async def mark(
        self, conversation_id: str, *, read: int = 0, delivered: int = 0, timeout: float | None = None
    ) -> chat_service_pb2.Unread:
        """Say up to which version the caller has read, or its devices were given everything; gives what is unread after it."""
        request = chat_service_pb2.MarkMessagesRequest(
            conversation_id=conversation_id, read_version=read, delivered_version=delivered
        )
        return (await self._connection.unary(self._stub.MarkMessages, request, timeout)).unread

    async def get_unread(self, conversation_id: str, *, timeout: float | None = None) -> chat_service_pb2.Unread:
        """Count what the caller has not read, exactly."""
        request = chat_service_pb2.GetUnreadRequest(conversation_id=conversation_id)
        return (await self._connection.unary(self._stub.GetUnread, request, timeout)).unread

    async def list_unread(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[chat_service_pb2.Unread, None]:
        """Iterate over the caller's conversations in which it has something unread; the sum of their counts is the total."""
        token = ""
        while True:
            request = chat_service_pb2.ListUnreadRequest(page_size=page_size, page_token=token)
            page = await self._connection.unary(self._stub.ListUnread, request, timeout)
            for unread in page.unread:
                yield unread
            token = page.next_page_token
            if not token:
                return

    async def list_receipts(
        self, conversation_id: str, *, timeout: float | None = None
    ) -> list[chat_service_pb2.Receipt]:
        """List how far each member has got, in a conversation of at most 100 members."""
        request = chat_service_pb2.ListReceiptsRequest(conversation_id=conversation_id)
        return list((await self._connection.unary(self._stub.ListReceipts, request, timeout)).receipts)
