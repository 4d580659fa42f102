"""Search in what was said: part of `Chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tradewind.chat.v1 import search_service_pb2, search_service_pb2_grpc
from tradewind.sdk._connection import Connection


class Searching:
    """Methods of `Chat`; see there for `timeout`."""

    _connection: Connection

    async def search(
        self,
        query: str = "",
        *,
        senders: Iterable[str] = (),
        conversations: Iterable[str] = (),
        after: datetime | None = None,
        before: datetime | None = None,
        has: Iterable[search_service_pb2.MessageFeature.ValueType] = (),
        phrases: Iterable[str] = (),
        excluded_phrases: Iterable[str] = (),
        newest_first: bool = False,
        user_id: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncGenerator[search_service_pb2.FoundMessage, None]:
        """Iterate over messages that are what `query` asks for, the best first, or the newest.

        `query` is words, "phrases", prefi*, -exclusions and operators (`from:`, `in:`, `before:`, `after:`, `has:`); the other
        arguments ask the same without being read for operators, and all must be true. `after` and `before` need a time zone.
        Pages are fetched as needed, `timeout` is for one page. What was said in the last moments may not be found yet.
        """
        stub = search_service_pb2_grpc.SearchServiceStub(self._connection.channel)
        order = (
            search_service_pb2.SEARCH_ORDER_NEWEST_FIRST
            if newest_first
            else search_service_pb2.SEARCH_ORDER_UNSPECIFIED
        )
        request = search_service_pb2.SearchMessagesRequest(
            query=query,
            sender_ids=senders,
            conversation_ids=conversations,
            sent_after=_timestamp(after),
            sent_before=_timestamp(before),
            has=has,
            phrases=phrases,
            excluded_phrases=excluded_phrases,
            order=order,
            user_id=user_id,
            page_size=page_size,
        )
        while True:
            page = await self._connection.unary(stub.SearchMessages, request, timeout)
            for found in page.results:
                yield found
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return


def _timestamp(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
