"""Many requests in flight over one bidirectional stream, each answered on its own, over as many connections as it takes.

A request lives in `_pending` from `post` until its answer, whatever happens to connections in between. A new connection begins by
sending all of `_pending` again, oldest first, under the same request ids: what the server had done it answers again.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import grpc.aio
from google.protobuf.message import Message
from google.rpc import status_pb2

from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import (
    DeadlineExceeded,
    SessionClosed,
    StreamFault,
    TradewindError,
    Transient,
    Unavailable,
    check,
    from_rpc,
    from_status,
)
from tradewind.sdk._resume import Patience

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer")

FRAME_BYTES = 512 * 1024
"""A frame is closed once it holds so much, however few requests that is; servers take at least 4 MiB."""
_TICK_SECONDS = 0.5


class Reply(NamedTuple, Generic[Answer]):
    """The answer to one request: its value, or why it was refused."""

    name: str
    answer: Answer
    error: status_pb2.Status | None


class Wire(Protocol[Request, Answer]):
    """What a pipeline must know of its rpc."""

    frame_items: int
    """How many requests a frame may carry."""

    def name(self, request: Request) -> str:
        """What a request and its reply have in common, and no other request."""

    def open(self, metadata: Any) -> Any:
        """Begin a stream."""

    def connected(self) -> None:
        """A new stream begins; whatever else must be said again is to be said in the next frames."""

    def has_more(self) -> bool:
        """Whether there is something to say besides requests."""

    def frame(self, requests: list[Request]) -> Message:
        """Put requests, and whatever else is to be said, into a frame."""

    def read(self, message: Any) -> tuple[Iterable[Reply[Answer]], int]:
        """Take a frame: answers, and after how many milliseconds to connect again (0: stay). Raises StreamFault."""

    def ended(self) -> None:
        """There will be no further stream."""


@dataclass(order=True, slots=True)
class _Entry(Generic[Request, Answer]):
    """A request without an answer; ordered by when it was posted."""

    number: int
    request: Request = field(compare=False)
    answer: asyncio.Future[Answer] = field(compare=False)
    deadline: float = field(compare=False)
    failures: int = field(compare=False, default=0)


class Pipeline(Generic[Request, Answer]):
    """Posts requests and gives a future for each. At most `window` are unanswered; `post` waits for room."""

    def __init__(self, connection: Connection, wire: Wire[Request, Answer], window: int, timeout: float) -> None:
        """Send over `wire`; a request is given up, outcome unknown, `timeout` seconds after it was posted."""
        self._connection = connection
        self._wire = wire
        self._timeout = timeout
        self._room = asyncio.Semaphore(window)
        self._pending: dict[str, _Entry[Request, Answer]] = {}
        self._outbox: list[_Entry[Request, Answer]] = []
        self._not_before = 0.0
        self._wake = asyncio.Event()
        self._posted = 0
        self._error: TradewindError | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._call: Any = None

    def start(self) -> None:
        """Connect and go on until `close`."""
        runner = asyncio.create_task(self._run())
        runner.add_done_callback(self._ended)
        self._tasks = [runner, asyncio.create_task(self._expire())]

    async def close(self) -> None:
        """Stop; what is unanswered raises SessionClosed."""
        self.fail(SessionClosed("the session was closed before the answer came"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def error(self) -> TradewindError | None:
        """Why the pipeline ended, or None while it goes on."""
        return self._error

    def leave(self) -> None:
        """Give this connection up and begin another one."""
        if self._call is not None:
            self._call.cancel()

    def poke(self) -> None:
        """Say that the wire has something to say."""
        self._wake.set()

    async def post(self, request: Request) -> asyncio.Future[Answer]:
        """Send a request and give the future of its answer; waits while the window is full.

        The future raises TradewindError: Refused, DeadlineExceeded, or why the stream ended for good. Raises InvalidArgument at once for
        a request that breaks a field rule.
        """
        check(request)
        await self._room.acquire()
        if self._error is not None:
            self._room.release()
            raise self._error
        name = self._wire.name(request)
        known = self._pending.get(name)
        if known is not None:
            # The same intent twice at once has one answer.
            self._room.release()
            return known.answer
        loop = asyncio.get_running_loop()
        entry = _Entry(self._posted, request, loop.create_future(), loop.time() + self._timeout)
        self._posted += 1
        self._pending[name] = entry
        heapq.heappush(self._outbox, entry)
        self._wake.set()
        return entry.answer

    async def flush(self) -> None:
        """Wait until all that was posted is answered or given up."""
        while waiting := [entry.answer for entry in self._pending.values() if not entry.answer.done()]:
            await asyncio.wait(waiting)

    def fail(self, error: TradewindError) -> None:
        """End for good: everything unanswered, and every later post, raises `error`."""
        if self._error is None:
            self._error = error
        for entry in list(self._pending.values()):
            self._settle(entry, error=error)
        self._outbox.clear()

    async def _run(self) -> None:
        patience = Patience(self._connection.policy, renews=self._connection.renews)
        while True:
            try:
                wait = await self._connect(patience)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling() or self._call is None:
                    raise
                # Only the call was cancelled, by `leave`.
                wait = self._wait_or_fail(patience, Unavailable("the server fell silent"))
            except grpc.aio.AioRpcError as error:
                wait = self._wait_or_fail(patience, from_rpc(error))
            except TradewindError as error:
                self.fail(error)
                wait = -1.0
            if wait < 0:
                return
            await asyncio.sleep(wait)

    def _wait_or_fail(self, patience: Patience, error: TradewindError) -> float:
        try:
            return patience.wait(error)
        except TradewindError as final:
            self.fail(final)
            return -1.0

    def _ended(self, runner: asyncio.Task[None]) -> None:
        defect = None if runner.cancelled() else runner.exception()
        if defect is not None:
            # Such as a token provider that raised: nobody may wait for an answer that cannot come.
            fault = StreamFault(f"the stream ended by {type(defect).__name__}")
            fault.__cause__ = defect
            self.fail(fault)
        self._wire.ended()

    async def _connect(self, patience: Patience) -> float:
        """Hold one connection; give the seconds to wait before the next, or less than 0 where there is to be none."""
        metadata = await self._connection.metadata()
        patience.begun()
        async with self._connection.streaming(self._wire.open, metadata) as call:
            self._call = call
            self._outbox = list(self._pending.values())
            heapq.heapify(self._outbox)
            self._wire.connected()
            await call.wait_for_connection()
            patience.connected()
            writer = asyncio.create_task(self._write(call))
            try:
                async for message in call:
                    patience.heard()
                    replies, reconnect_after_ms = self._wire.read(message)
                    for reply in replies:
                        self._take(reply)
                    if reconnect_after_ms:
                        return reconnect_after_ms / 1000
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        return self._wait_or_fail(patience, Unavailable("the stream ended"))

    async def _write(self, call: Any) -> None:
        while True:
            self._wake.clear()
            requests = self._batch()
            if requests or self._wire.has_more():
                try:
                    await call.write(self._wire.frame(requests))
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return  # the reader meets the same end, and says why
                continue
            if not self._outbox:
                await self._wake.wait()
            else:
                await asyncio.sleep(max(0.0, self._not_before - asyncio.get_running_loop().time()))

    def _batch(self) -> list[Request]:
        requests: list[Request] = []
        if self._not_before > asyncio.get_running_loop().time():
            return requests
        size = 0
        while self._outbox and len(requests) < self._wire.frame_items and size < FRAME_BYTES:
            entry = heapq.heappop(self._outbox)
            if entry.answer.done():
                continue
            requests.append(entry.request)
            size += entry.request.ByteSize()
        return requests

    def _take(self, reply: Reply[Answer]) -> None:
        entry = self._pending.get(reply.name)
        if entry is None:
            return  # given up before, or answered twice after a reconnect
        if reply.error is None:
            self._settle(entry, answer=reply.answer)
            return
        error = from_status(reply.error)
        if not isinstance(error, Transient):
            self._settle(entry, error=error)
            return
        # Nothing new is sent before what failed for now was sent again, so that little overtakes it.
        entry.failures += 1
        self._not_before = asyncio.get_running_loop().time() + self._connection.policy.wait(entry.failures, error)
        heapq.heappush(self._outbox, entry)
        self._wake.set()

    def _settle(
        self, entry: _Entry[Request, Answer], *, answer: Answer | None = None, error: TradewindError | None = None
    ) -> None:
        del self._pending[self._wire.name(entry.request)]
        self._room.release()
        if entry.answer.done():
            return  # whoever asked has gone
        if error is None:
            entry.answer.set_result(answer)  # type: ignore[arg-type]
        else:
            entry.answer.set_exception(error)
            entry.answer.exception()  # marks it as seen: not to wait for an answer is allowed

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = asyncio.get_running_loop().time()
            for entry in [entry for entry in self._pending.values() if entry.deadline < now]:
                late = DeadlineExceeded("no answer in time; the same request id settles it", reason="DEADLINE_EXCEEDED")
                self._settle(entry, error=late)
