"""The rpc of search."""

from __future__ import annotations

from tradewind.chat.v1 import search_service_pb2 as pb

from services.chat.search.finding import Finder
from services.runtime.call import Call


class SearchService:
    """Handler of ``tradewind.chat.v1.SearchService``; its contract is in ``search_service.proto``."""

    def __init__(self, finder: Finder) -> None:
        """Answer what ``finder`` finds."""
        self._finder = finder

    async def SearchMessages(self, request: pb.SearchMessagesRequest, call: Call) -> pb.SearchMessagesResponse:
        """Find messages."""
        return await self._finder.find(request, call.caller)
