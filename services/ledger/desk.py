"""The desk: what a log's owner does for those who consume it.

Consumers hand on only what is stored. For an entry nobody announced they ask the owner to settle it (a load stores it, or finds it
void); after a lost log they ask for what was acknowledged but not yet consumed. The owner's own consumers ask the same desk
without the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import structlog
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from tradewind.ledger.v1 import entry_pb2

from services.ledger.archive import PAGE_BYTES, Archive, StoredEntry
from services.ledger.ending import end
from services.ledger.errors import HistoryGap, LedgerError, LogUnavailable, StoreUnavailable
from services.ledger.ids import AggregateId, partition_of
from services.ledger.stored import StoredEntries

_PAGE = 200
_LOOK_BACK = 64
_ALL = 1 << 62
_AT_ONCE = 64
_REQUESTS_AT_ONCE = 16
_MOST_ASKED = 256
_ASK_AFTER = 0.005
_ANSWER_WITHIN = 4.0
_WAIT_FOR_ANSWER = 6.0
_WAIT_FOR_PAGE = 10.0
_log = structlog.get_logger(__name__)


class Desk(Protocol):
    """What consumers ask of a log's owner."""

    async def settle(self, aggregate: AggregateId, first_version: int, seq: int) -> bool:
        """Makes sure that an entry is stored; False: it is void.

        Raises:
            LedgerError: not now; ask again.
        """

    async def scan(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        """A page of stored entries of earlier lives; their aggregates are open in this one, so what they hold stands (rule 2).

        Raises:
            LedgerError: not now; ask again.
        """


class LocalDesk:
    """The owner's side.

    Args:
        refresh: loads an aggregate, which stores what is missing.
        stored: what is known to be stored needs no look.
        sure: makes sure that what was just read still is this life's (rule 5).
        epoch: this life of the log.
    """

    def __init__(
        self,
        archive: Archive,
        refresh: Callable[[AggregateId], Awaitable[object]],
        stored: StoredEntries,
        partitions: int,
        sure: Callable[[], Awaitable[None]],
        epoch: int,
    ) -> None:
        self._archive, self._sure, self._epoch = archive, sure, epoch
        self._refresh = refresh
        self._stored = stored
        self._partitions = partitions
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._opening = asyncio.Semaphore(_AT_ONCE)
        self._requests = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, nats: Client, service: str) -> None:
        """Answers other services' questions, some at once; processes of one service share them."""
        await nats.subscribe(f"desk.{service}.settle-many", queue="desk", cb=self._settle_aside)
        await nats.subscribe(f"desk.{service}.scan", queue="desk", cb=self._scan_aside)

    async def close(self) -> None:
        """Leaves what is not answered yet to another process."""
        await end(self._tasks)

    async def settle(self, aggregate: AggregateId, first_version: int, seq: int) -> bool:
        """See `Desk.settle`."""
        if self._stored.knows(seq) or await self._holds(aggregate, first_version, seq):
            return True
        await self._refresh(aggregate)  # it stores the entry, or finds it void
        return await self._holds(aggregate, first_version, seq)

    async def _holds(self, aggregate: AggregateId, first_version: int, seq: int) -> bool:
        """Whether the store holds this entry, at or below the aggregate's head."""
        page = await self._archive.entries(aggregate.key, after=first_version - 1, limit=1)
        await self._sure()  # a process that slept through a lost log may have stored it itself, too late
        return bool(page) and page[0].first_version == first_version and page[0].seq == seq

    async def scan(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        """See `Desk.scan`."""
        return await (self._scan_one(query) if query.id else self._scan_all(query))

    async def _scan_all(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        opened: dict[str, bool] = {}
        while True:
            scanned = await self._archive.scan(
                after_seq=query.after_seq, place=query.after_key, limit=min(query.limit or _PAGE, _PAGE)
            )
            wanted = [(key, entry) for key, entry in scanned.entries if self._wants(query, key, entry.seq)]
            unopened = {key for key, entry in wanted if entry.seq < self._epoch} - opened.keys()
            if not unopened:
                break
            # What was read may be nothing once its aggregate is open, and what was not yet there may stand: read again.
            opened.update(zip(unopened, await asyncio.gather(*map(self._open, unopened)), strict=True))
        await self._sure()
        answer = entry_pb2.ScanResponse(next_key=scanned.next_place)
        for key, entry in wanted:
            if opened.get(key, True):
                _add(answer, key, entry)
        return answer

    def _wants(self, query: entry_pb2.ScanRequest, key: str, seq: int) -> bool:
        if seq >= query.before_seq or partition_of(key, self._partitions) != query.partition:
            return False
        return not query.kind or AggregateId.from_key(key).kind == query.kind

    async def _open(self, key: str) -> bool:
        """Has this life hold an entry of an aggregate; False: the store has a gap there, and nobody can say what stands."""
        aggregate = AggregateId.from_key(key)
        async with self._opening:
            try:
                await self._refresh(aggregate)
            except HistoryGap:  # it is opened when an operator has restored it; the others must not wait for that
                _log.error("history_gap", kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id)
                return False
        return True

    async def _scan_one(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        """One aggregate's entries between two sequences, oldest first."""
        aggregate = AggregateId(query.tenant, query.kind, query.id)
        after, seq = map(int, query.after_key.split(":")) if query.after_key else (0, query.after_seq)
        await self._refresh(aggregate)
        if not query.after_key:
            after = await self._last_up_to(aggregate.key, seq)
        limit = min(query.limit or _PAGE, _PAGE)
        page = await self._archive.entries(aggregate.key, after=after, limit=limit + 1)
        await self._sure()
        answer, size = entry_pb2.ScanResponse(), 0
        for entry in (stored for stored in page if stored.seq > seq):
            if entry.seq >= query.before_seq:
                answer.next_key = ""
                break
            size += len(entry.data)
            if len(answer.entries) == limit or (answer.entries and size > PAGE_BYTES):
                break
            _add(answer, aggregate.key, entry)
            answer.next_key = f"{entry.first_version}:{entry.seq}"
        return answer

    async def _last_up_to(self, key: str, seq: int) -> int:
        """First version of the last entry at or below a sequence: from the newest back, as few are above it as a rule."""
        before = _ALL
        while page := await self._archive.entries(key, before=before, limit=_LOOK_BACK):
            for entry in page:
                if entry.seq <= seq:
                    return entry.first_version
            before = page[-1].first_version
        return 0

    async def _settle_aside(self, message: Msg) -> None:
        await self._aside(self._settle_many(message))

    async def _scan_aside(self, message: Msg) -> None:
        await self._aside(self._scan(message))

    async def _aside(self, answer: Coroutine[Any, Any, None]) -> None:
        await self._requests.acquire()  # more questions wait in the subscription
        task = asyncio.create_task(answer)
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._requests.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("desk_answer_lost", error=type(error).__name__)

    async def _settle_many(self, message: Msg) -> None:
        try:
            queries = entry_pb2.SettleManyRequest.FromString(message.data).entries
        except DecodeError:
            return  # nobody's question
        answers = await asyncio.gather(*map(self._settle_one, queries))
        await message.respond(entry_pb2.SettleManyResponse(answers=answers).SerializeToString())

    async def _settle_one(self, query: entry_pb2.SettleRequest) -> entry_pb2.SettleResponse:
        """One entry's answer; what takes too long is told so, that the others need not wait for it."""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN), self._room:
                aggregate = AggregateId(query.tenant, query.kind, query.id)
                return entry_pb2.SettleResponse(stored=await self.settle(aggregate, query.first_version, query.seq))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this entry's answer alone
            return entry_pb2.SettleResponse(error=str(error) or type(error).__name__)

    async def _scan(self, message: Msg) -> None:
        try:
            answer = await self.scan(entry_pb2.ScanRequest.FromString(message.data))
        except (LedgerError, DecodeError) as error:
            answer = entry_pb2.ScanResponse(error=str(error) or type(error).__name__)
        await message.respond(answer.SerializeToString())


def _add(answer: entry_pb2.ScanResponse, key: str, entry: StoredEntry) -> None:
    aggregate = AggregateId.from_key(key)
    answer.entries.add(kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id, seq=entry.seq, entry=entry.data)


class RemoteDesk:
    """Another service's desk, over core NATS request and reply; what is asked at the same time goes as one question."""

    def __init__(self, nats: Client, service: str) -> None:
        self._nats = nats
        self._service = service
        self._asked: list[tuple[entry_pb2.SettleRequest, asyncio.Future[bool]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def settle(self, aggregate: AggregateId, first_version: int, seq: int) -> bool:
        """See `Desk.settle`."""
        query = entry_pb2.SettleRequest(
            kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id, seq=seq, first_version=first_version
        )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._asked.append((query, answer))
        if len(self._asked) >= _MOST_ASKED:
            self._send()
        elif self._timer is None:
            self._timer = loop.call_later(_ASK_AFTER, self._send)
        return await answer

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asked, self._asked = self._asked, []
        wanted = [(query, answer) for query, answer in asked if not answer.done()]  # who left needs no answer
        if wanted:
            task = asyncio.create_task(self._settle_many(wanted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _settle_many(self, asked: list[tuple[entry_pb2.SettleRequest, asyncio.Future[bool]]]) -> None:
        query = entry_pb2.SettleManyRequest(entries=[each for each, _ in asked])
        given: list[bool | LedgerError]
        try:
            data = await self._ask("settle-many", query.SerializeToString(), _WAIT_FOR_ANSWER)
            given = [self._outcome(answer) for answer in entry_pb2.SettleManyResponse.FromString(data).answers]
        except LedgerError as error:
            given = [error] * len(asked)
        except DecodeError:
            given = []
        if len(given) != len(asked):
            given = [LogUnavailable(f"{self._service} answered something else")] * len(asked)
        for (_, answer), outcome in zip(asked, given, strict=True):
            if answer.done():
                continue
            if isinstance(outcome, LedgerError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

    def _outcome(self, answer: entry_pb2.SettleResponse) -> bool | LedgerError:
        if answer.error:
            return StoreUnavailable(f"{self._service} could not settle an entry: {answer.error}")
        return answer.stored

    async def scan(self, query: entry_pb2.ScanRequest) -> entry_pb2.ScanResponse:
        """See `Desk.scan`."""
        answer = entry_pb2.ScanResponse.FromString(await self._ask("scan", query.SerializeToString(), _WAIT_FOR_PAGE))
        if answer.error:
            raise StoreUnavailable(f"{self._service} could not scan its store: {answer.error}")
        return answer

    async def _ask(self, what: str, query: bytes, timeout: float) -> bytes:
        try:
            answer = await self._nats.request(f"desk.{self._service}.{what}", query, timeout=timeout)
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"{self._service} does not answer: {type(error).__name__}") from error
        return bytes(answer.data)
