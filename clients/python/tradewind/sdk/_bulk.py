"""Bulk rpcs: any number of requests through a bounded window, an answer for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import Refused, TradewindError
from tradewind.sdk._pipeline import Pipeline, Reply

Request = TypeVar("Request", bound=Message)
Result = TypeVar("Result", bound=Message)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Request, Result]):
    """What became of one request of many: its result, or the error it was refused with."""

    request: Request
    result: Result | None
    error: TradewindError | None


class BulkWire(Generic[Request, Result]):
    """An rpc whose frames are `repeated` requests one way and `repeated results` the other."""

    frame_items = 64

    def __init__(self, open_call: Callable[..., Any], make_frame: Callable[[list[Request]], Message]) -> None:
        self._open = open_call
        self._make_frame = make_frame

    def name(self, request: Request) -> str:
        """Name a request by its id."""
        request_id: str = request.request_id  # type: ignore[attr-defined]
        return request_id

    def open(self, metadata: Any) -> Any:
        """Begin a stream."""
        return self._open(metadata=metadata)

    def connected(self) -> None:
        """Nothing else must be said again."""

    def has_more(self) -> bool:
        """There is nothing to say besides requests."""
        return False

    def frame(self, requests: list[Request]) -> Message:
        """Put requests into a frame."""
        return self._make_frame(requests)

    def read(self, message: Any) -> tuple[list[Reply[Result]], int]:
        """Take a frame of results."""
        replies = [Reply(r.request_id, r, r.error if r.HasField("error") else None) for r in message.results]
        return replies, getattr(message, "reconnect_after_ms", 0)

    def ended(self) -> None:
        """Nobody waits for anything but answers."""


async def in_bulk(
    connection: Connection,
    wire: BulkWire[Request, Result],
    requests: Iterable[Request] | AsyncIterable[Request],
    *,
    window: int,
    timeout: float,
) -> AsyncGenerator[Outcome[Request, Result], None]:
    """Yield an outcome for every request, in any order. `requests` is read no further than `window` ahead of what was yielded.

    Refused requests are outcomes. Raises TradewindError where the whole stream ends for good, such as Unavailable or Unauthenticated.
    """
    pipeline: Pipeline[Request, Result] = Pipeline(connection, wire, window, timeout)
    done: asyncio.Queue[Outcome[Request, Result] | None] = asyncio.Queue()
    slots = asyncio.Semaphore(window)

    async def settle(request: Request) -> None:
        try:
            answer = await pipeline.post(request)
        except Refused as error:
            done.put_nowait(Outcome(request, None, error))
            return
        answer.add_done_callback(lambda future: done.put_nowait(_outcome(request, future)))

    async def feed() -> None:
        try:
            async for request in _each(requests):
                await slots.acquire()
                await settle(request)
            await pipeline.flush()
        finally:
            # Answers call back in the loop's next turn; the end must stand behind the last of them.
            asyncio.get_running_loop().call_soon(done.put_nowait, None)

    pipeline.start()
    feeder = asyncio.create_task(feed())
    try:
        while (outcome := await done.get()) is not None:
            if outcome.error is not None and outcome.error is pipeline.error:
                raise outcome.error
            slots.release()
            yield outcome
        await feeder
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        await pipeline.close()


def _outcome(request: Request, future: asyncio.Future[Result]) -> Outcome[Request, Result]:
    error = future.exception()
    if error is None:
        return Outcome(request, future.result(), None)
    if not isinstance(error, TradewindError):
        raise error
    return Outcome(request, None, error)


async def _each(requests: Iterable[Request] | AsyncIterable[Request]) -> AsyncGenerator[Request, None]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
