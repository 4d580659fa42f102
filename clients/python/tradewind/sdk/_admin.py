"""What operators do, as methods."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tradewind.admin.v1 import admin_service_pb2, admin_service_pb2_grpc
from tradewind.sdk._connection import Connection


class Admin:
    """Dead letters of one service's consumers. Every method raises TradewindError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = admin_service_pb2_grpc.AdminServiceStub(connection.channel)

    async def list_dead_letters(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[admin_service_pb2.DeadLetter, None]:
        """Iterate over dead letters, oldest first; pages are fetched as needed."""
        token = ""
        while True:
            request = admin_service_pb2.ListDeadLettersRequest(page_size=page_size, page_token=token)
            page = await self._connection.unary(self._stub.ListDeadLetters, request, timeout)
            for letter in page.dead_letters:
                yield letter
            token = page.next_page_token
            if not token:
                return

    async def replay_dead_letter(
        self, letter_id: int, *, timeout: float | None = None
    ) -> admin_service_pb2.ReplayDeadLetterResponse:
        """Hand a dead letter to its consumer once more. Raises NotFound."""
        request = admin_service_pb2.ReplayDeadLetterRequest(letter_id=letter_id)
        return await self._connection.unary(self._stub.ReplayDeadLetter, request, timeout)
