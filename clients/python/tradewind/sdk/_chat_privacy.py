"""All of a conversation or a person given out, and persons erased: part of `Chat`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import grpc.aio

from tradewind.chat.v1 import privacy_service_pb2, privacy_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import from_rpc
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Patience


class Privacy:
    """Methods of `Chat`; see there for `request_id` and `timeout`."""

    _connection: Connection

    @property
    def _private(self) -> privacy_service_pb2_grpc.PrivacyServiceAsyncStub:
        return privacy_service_pb2_grpc.PrivacyServiceStub(self._connection.channel)

    async def export_conversation(
        self, conversation_id: str, *, resume_token: str = ""
    ) -> AsyncGenerator[privacy_service_pb2.ExportConversationResponse, None]:
        """Iterate over all of a conversation as chunks of JSON Lines; for its owners, and roles `admin` and `service`.

        Goes on by itself over broken connections. Who keeps a chunk with its `resume_token` goes on after a crash of its own.
        """

        def ask(token: str) -> privacy_service_pb2.ExportConversationRequest:
            return privacy_service_pb2.ExportConversationRequest(conversation_id=conversation_id, resume_token=token)

        async with aclosing(self._chunks(self._private.ExportConversation, ask, resume_token)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def export_person(
        self, user_id: str = "", *, resume_token: str = ""
    ) -> AsyncGenerator[privacy_service_pb2.ExportPersonResponse, None]:
        """Iterate over all that there is of a person (the caller, unless its roles are `admin` or `service`) as chunks of JSON Lines."""

        def ask(token: str) -> privacy_service_pb2.ExportPersonRequest:
            return privacy_service_pb2.ExportPersonRequest(user_id=user_id, resume_token=token)

        async with aclosing(self._chunks(self._private.ExportPerson, ask, resume_token)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def erase_person(
        self, user_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> privacy_service_pb2.ErasePersonResponse:
        """Erase a person for good: what it said cannot be read any more, by anybody. For roles `admin` and `service`."""
        request = privacy_service_pb2.ErasePersonRequest(request_id=request_id or new_request_id(), user_id=user_id)
        return await self._connection.unary(self._private.ErasePerson, request, timeout)

    async def _chunks(
        self, rpc: Callable[..., Any], ask: Callable[[str], Any], token: str
    ) -> AsyncGenerator[Any, None]:
        patience = Patience(self._connection.policy, renews=self._connection.renews)
        while True:
            try:
                metadata = await self._connection.metadata()
                patience.begun()
                async with self._connection.streaming(rpc, ask(token), metadata=metadata) as call:
                    async for chunk in call:
                        patience.heard()
                        token = chunk.resume_token
                        yield chunk
                return
            except grpc.aio.AioRpcError as error:
                wait = patience.wait(from_rpc(error))
            await asyncio.sleep(wait)
