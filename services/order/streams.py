"""The streams of Order: one order's events out, and many orders in."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tradewind.order.v1 import order_service_pb2 as pb

from services.ledger.decider import View
from services.ledger.ending import end
from services.ledger.ledger import Ledger
from services.order import access, kinds
from services.order.access import actor_of
from services.order.config import OrderSettings
from services.order.domain.order import Order
from services.order.placing import Placing
from services.runtime.call import Call
from services.runtime.errors import status_of

_FRAME_BYTES = 1 << 20


async def watch(
    ledger: Ledger, request: pb.WatchOrderRequest, call: Call, settings: OrderSettings
) -> AsyncIterator[pb.WatchOrderResponse | bytes]:
    """Stream an order's events after a version, as the log holds them, until the last one or a drain. Raises Refused (NOT_FOUND)."""
    actor = actor_of(call.caller)
    aggregate = kinds.order_id(actor.tenant, request.order_id)
    watcher = ledger.watcher()
    at = request.after_version
    async with _told_of_drain(call, watcher.flag):
        try:
            await watcher.add(aggregate, at)
            view: View[Order] = await ledger.read(aggregate, fresh=False)
            access.visible(actor, view.state, request.order_id)
            while not (view.state.settled and at >= view.version):
                if call.draining.is_set():
                    yield pb.WatchOrderResponse(reconnect_after_ms=reconnect_after_ms(settings))
                    return
                for frame in await watcher.ready():
                    yield frame.data
                    at = frame.last
                view = await ledger.read(aggregate, fresh=False, at_least=at)
        finally:
            watcher.close()


async def place_many(
    placing: Placing, requests: AsyncIterator[pb.PlaceOrdersRequest], call: Call, settings: OrderSettings
) -> AsyncIterator[pb.PlaceOrdersResponse]:
    """Answer each order of a stream on its own. Raises Refused (INVALID_FIELD) for a frame that breaks the frame's own rules."""
    bulk = _Bulk(placing, call, settings.place_orders_unanswered)
    async with _told_of_drain(call, bulk.flag), bulk.reading(requests) as reader:
        while not bulk.over(reader):
            await bulk.flag.wait()
            bulk.flag.clear()
            if call.draining.is_set():
                reader.cancel()
            while bulk.answers:
                yield bulk.frame()
        if call.draining.is_set():
            yield pb.PlaceOrdersResponse(reconnect_after_ms=reconnect_after_ms(settings))
        elif not reader.cancelled():
            reader.result()


def reconnect_after_ms(settings: OrderSettings) -> int:
    """Say when a client of a draining server is to come back: after a time of its own, never 0."""
    return random.randint(1, max(1, int(settings.reconnect_spread * 1000)))


class _Bulk:
    """One PlaceOrders stream: what is unanswered, and the answers that wait to be sent."""

    def __init__(self, placing: Placing, call: Call, unanswered: int) -> None:
        self.flag = asyncio.Event()
        self.answers: deque[pb.PlaceOrderResult] = deque()
        self._placing = placing
        self._call = call
        self._actor = actor_of(call.caller)
        self._room = asyncio.Semaphore(unanswered)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def reading(self, requests: AsyncIterator[pb.PlaceOrdersRequest]) -> AsyncIterator[asyncio.Task[None]]:
        """Read and place in the background; whatever is under way ends with the stream."""
        reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(lambda _: self.flag.set())
        try:
            yield reader
        finally:
            await end([reader, *self._tasks])

    def over(self, reader: asyncio.Task[None]) -> bool:
        """Tell whether nothing more will come."""
        return reader.done() and not self._tasks and not self.answers

    def frame(self) -> pb.PlaceOrdersResponse:
        """Take the answers that fit into one frame; who reads no frames gets no further orders in."""
        frame = pb.PlaceOrdersResponse()
        size = 0
        while self.answers and size < _FRAME_BYTES:
            answer = self.answers.popleft()
            size += answer.ByteSize()
            frame.results.append(answer)
            self._room.release()
        return frame

    async def _read(self, requests: AsyncIterator[pb.PlaceOrdersRequest]) -> None:
        async for request in requests:
            await self._admitted(len(request.orders) or 1)
            for order in request.orders:
                await self._room.acquire()
                task = asyncio.create_task(self._place(order))
                self._tasks.add(task)
                task.add_done_callback(self._placed)

    async def _admitted(self, count: int) -> None:
        """Wait until the caller's rate allows so much; a stream is slowed where a call would be refused."""
        wait = self._call.admit(count)
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._call.admit(count)

    async def _place(self, request: pb.PlaceOrderRequest) -> None:
        answer = pb.PlaceOrderResult(request_id=request.request_id)
        try:
            self._call.validate(request)
            order, answer.replayed = await self._placing.place(request, self._actor, self._call)
            answer.order.CopyFrom(order)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is this order's answer)
            answer.error.CopyFrom(status_of(error))
        self.answers.append(answer)

    def _placed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.flag.set()


@asynccontextmanager
async def _told_of_drain(call: Call, flag: asyncio.Event) -> AsyncIterator[None]:
    """Raise a stream's flag when the server drains."""

    async def tell() -> None:
        await call.draining.wait()
        flag.set()

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
