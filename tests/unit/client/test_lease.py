"""A device that is there: renewals that get no answer, and who leaves while it is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from tradewind.chat.v1 import presence_service_pb2 as pb
from tradewind.sdk import Client


class Presences:
    """Takes reports; does not answer those that are numbered in ``silent``."""

    def __init__(self, *silent: int) -> None:
        self.silent = silent
        self.reports: list[int] = []
        self.came = asyncio.Event()

    async def report(self, request: pb.ReportPresenceRequest, _context: object) -> pb.ReportPresenceResponse:
        self.reports.append(request.state)
        self.came.set()
        if len(self.reports) in self.silent:
            await asyncio.Event().wait()
        return pb.ReportPresenceResponse()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.reports) < count:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def serving(presences: Presences) -> AsyncIterator[Client]:
    server = grpc.aio.server()
    report = grpc.unary_unary_rpc_method_handler(
        presences.report,
        request_deserializer=pb.ReportPresenceRequest.FromString,
        response_serializer=pb.ReportPresenceResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler("tradewind.chat.v1.PresenceService", {"ReportPresence": report})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}") as client:
            yield client
    finally:
        await server.stop(0)


async def test_a_renewal_without_an_answer_is_repeated_within_the_lease() -> None:
    """A server that hangs for once must not make a device fade that is there."""
    presences = Presences(2)
    async with serving(presences) as client, client.presence.online("phone", lease=1) as lease:
        await presences.until(4)
        waiting = asyncio.create_task(lease.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


async def test_who_is_ended_while_a_lease_ends_stays_ended() -> None:
    presences = Presences()
    async with serving(presences) as client:

        async def there() -> None:
            async with client.presence.online("phone", lease=60):
                await presences.until(1)
                me = asyncio.current_task()
                assert me is not None
                # It arrives while the renewal is being ended.
                asyncio.get_running_loop().call_soon(me.cancel)

        task = asyncio.create_task(there())
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 30)
