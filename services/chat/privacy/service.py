"""The rpcs of privacy."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tradewind.chat.v1 import privacy_service_pb2 as pb

from services.chat.access import actor_of
from services.chat.privacy.erasing import Eraser
from services.chat.privacy.exporting import Exporter
from services.runtime.call import Call


class PrivacyService:
    """Handlers of ``tradewind.chat.v1.PrivacyService``; their contract is in ``privacy_service.proto``."""

    def __init__(self, exporter: Exporter, eraser: Eraser) -> None:
        """Serve."""
        self._exporter = exporter
        self._eraser = eraser

    def ExportConversation(
        self, request: pb.ExportConversationRequest, call: Call
    ) -> AsyncIterator[pb.ExportConversationResponse]:
        """Give out all of a conversation."""
        return self._exporter.conversation(request, actor_of(call.caller))

    def ExportPerson(self, request: pb.ExportPersonRequest, call: Call) -> AsyncIterator[pb.ExportPersonResponse]:
        """Give out all of a person."""
        return self._exporter.person(request, actor_of(call.caller))

    async def ErasePerson(self, request: pb.ErasePersonRequest, call: Call) -> pb.ErasePersonResponse:
        """Erase a person."""
        return await self._eraser.erase(request, actor_of(call.caller), call)
