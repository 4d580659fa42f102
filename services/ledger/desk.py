"""The desk: what a log's owner does for those who consume it.

Consumers hand on only what is stored. For an entry nobody announced they ask the owner to settle it (a load stores it, or finds it
void); after a lost log they ask for what was acknowledged but not yet consumed. The owner's own consumers ask the same desk
without the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from tradewind.ledger.v1 import entry_pb2

from services.ledger.archive import Archive
from services.ledger.ending import end
from services.ledger.errors import LedgerError, LogUnavailable, StoreUnavailable
from services.ledger.ids import AggregateId, partition_of
from services.ledger.stored import StoredEntries

_PAGE = 200
_AT_ONCE = 64
_log = structlog.get_logger(__name__)


class Desk(Protocol):
    """What consumers ask of a log's owner."""

    async def settle(self, aggregate: AggregateId, first_version: int, seq: int) -> bool:
        """Makes sure that an entry is stored; False: it is void.

        Raises:
            LedgerError: not now; ask again.
        """

    async def scan(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        """A page of stored entries of earlier lives.

        Raises:
            LedgerError: not now; ask again.
        """


class LocalDesk:
    """The owner's side.

    Args:
        refresh: loads an aggregate, which stores what is missing.
        stored: what is known to be stored needs no look.
    """

    def __init__(
        self,
        archive: Archive,
        refresh: Callable[[AggregateId], Awaitable[object]],
        stored: StoredEntries,
        partitions: int,
    ) -> None:
        self._archive = archive
        self._refresh = refresh
        self._stored = stored
        self._partitions = partitions
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, nats: Client, service: str) -> None:
        """Answers other services' questions, some at once; processes of one service share them."""
        await nats.subscribe(f"desk.{service}.settle", queue="desk", cb=self._settle_aside)
        await nats.subscribe(f"desk.{service}.scan", queue="desk", cb=self._scan)

    async def close(self) -> None:
        """Leaves what is not answered yet to another process."""
        await end(self._tasks)

    async def settle(self, aggregate: AggregateId, first_version: int, seq: int) -> bool:
        """See `Desk.settle`."""
        if self._stored.knows(seq):
            return True
        head = await self._archive.head(aggregate.key)
        if head is None or head.seq < seq:
            await self._refresh(aggregate)
        page = await self._archive.entries(aggregate.key, after=first_version - 1, limit=1)
        return bool(page) and page[0].first_version == first_version and page[0].seq == seq

    async def scan(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        """See `Desk.scan`."""
        scanned = await self._archive.scan(
            after_seq=query.after_seq, place=query.after_key, limit=min(query.limit or _PAGE, _PAGE)
        )
        answer = entry_pb2.ScanResponse(next_key=scanned.next_place)
        for key, entry in scanned.entries:
            if partition_of(key, self._partitions) != query.partition or entry.seq >= query.before_seq:
                continue
            aggregate = AggregateId.from_key(key)
            answer.entries.add(
                kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id, seq=entry.seq, entry=entry.data
            )
        return answer

    async def _settle_aside(self, message: Msg) -> None:
        await self._room.acquire()  # more questions wait in the subscription
        task = asyncio.create_task(self._settle(message))
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("desk_answer_lost", error=type(error).__name__)

    async def _settle(self, message: Msg) -> None:
        answer = entry_pb2.SettleResponse()
        try:
            query = entry_pb2.SettleRequest.FromString(message.data)
            aggregate = AggregateId(query.tenant, query.kind, query.id)
            answer.stored = await self.settle(aggregate, query.first_version, query.seq)
        except (LedgerError, DecodeError) as error:
            answer.error = str(error) or type(error).__name__
        await message.respond(answer.SerializeToString())

    async def _scan(self, message: Msg) -> None:
        try:
            answer = await self.scan(entry_pb2.ScanRequest.FromString(message.data))
        except (LedgerError, DecodeError) as error:
            answer = entry_pb2.ScanResponse(error=str(error) or type(error).__name__)
        await message.respond(answer.SerializeToString())


class RemoteDesk:
    """Another service's desk, over core NATS request and reply."""

    def __init__(self, nats: Client, service: str) -> None:
        self._nats = nats
        self._service = service

    async def settle(self, aggregate: AggregateId, first_version: int, seq: int) -> bool:
        """See `Desk.settle`."""
        query = entry_pb2.SettleRequest(
            kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id, seq=seq, first_version=first_version
        )
        answer = entry_pb2.SettleResponse.FromString(await self._ask("settle", query.SerializeToString()))
        if answer.error:
            raise StoreUnavailable(f"{self._service} could not settle an entry: {answer.error}")
        return answer.stored

    async def scan(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        """See `Desk.scan`."""
        answer = entry_pb2.ScanResponse.FromString(await self._ask("scan", query.SerializeToString()))
        if answer.error:
            raise StoreUnavailable(f"{self._service} could not scan its store: {answer.error}")
        return answer

    async def _ask(self, what: str, query: bytes) -> bytes:
        try:
            answer = await self._nats.request(f"desk.{self._service}.{what}", query, timeout=10.0)
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"{self._service} does not answer: {type(error).__name__}") from error
        return bytes(answer.data)
