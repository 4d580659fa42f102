"""The rpc of search."""

from __future__ import annotations

from tradewind.chat.v1 import search_service_pb2 as pb

from services.chat.search.finding import Finder
from services.chat.search.index import Index
from services.runtime.call import Call


class SearchService:
    """Handler of ``tradewind.chat.v1.SearchService``; its contract is in ``search_service.proto``."""

    def __init__(self, finder: Finder, index: Index) -> None:
        """Answer what ``finder`` finds in ``index``."""
        self._finder, self._index = finder, index

    async def SearchMessages(self, request: pb.SearchMessagesRequest, call: Call) -> pb.SearchMessagesResponse:
        """Find messages."""
        return await self._finder.find(request, call.caller)

    async def forget(self, tenant: str, user_id: str) -> int:
        """Forget what a person said, in this machine's index; gives how many messages. Others do so when they read of it in the log.

        Raises:
            StoreUnavailable: not all of it; ask again.
        """
        return await self._index.remove_person(tenant, user_id)
