"""A Tradewind of one process and no memory, on real gRPC: keeps the contracts' promises, and breaks connections when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from tradewind.chat.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tradewind.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc
from tradewind.sdk import Client, RetryPolicy

Context = grpc.aio.ServicerContext[Any, Any]

FAST = RetryPolicy(first_wait=0.005, longest_wait=0.05, stream_patience=3.0)


def status(code: grpc.StatusCode, reason: str, *, retry_after: float | None = None) -> status_pb2.Status:
    """A Status as services send it."""
    found = status_pb2.Status(code=code.value[0], message=f"because of {reason}")
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain="tradewind", metadata={"why": "test"})]
    if retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(int(retry_after * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        found.details.add().Pack(detail)
    return found


async def abort(context: Context, found: status_pb2.Status) -> None:
    """End a call with a Status."""
    code = next(code for code in grpc.StatusCode if code.value[0] == found.code)
    await context.abort(code, found.message, (("grpc-status-details-bin", found.SerializeToString()),))


@dataclass
class Faults:
    """What goes wrong next; each list is used up from its front."""

    unary: list[status_pb2.Status] = field(default_factory=list)
    """Unary calls that fail."""
    frames: list[int | status_pb2.Status] = field(default_factory=list)
    """Streams that end after so many frames, with UNAVAILABLE; or at once with a Status."""
    items: dict[str, status_pb2.Status] = field(default_factory=dict)
    """Texts, or customers, whose request fails once with a Status."""
    drain_after: list[int] = field(default_factory=list)
    """Streams that say goodbye after so many frames."""
    lose_answers: bool = False
    """The next Converse or PlaceOrders stream does what it is asked and breaks before it answers."""
    skip: int = 0
    """A version that is left out of streams."""


class Chat(chat_service_pb2_grpc.ChatServiceServicer):
    """Conversations in memory."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.events: dict[str, list[chat_pb2.ConversationEvent]] = {}
        self.made: dict[str, tuple[bytes, int]] = {}
        self.requests: list[str] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.streams = 0
        self.page = 3
        self._changed = asyncio.Condition()

    async def CreateConversation(self, request: chat_service_pb2.CreateConversationRequest, context: Context) -> Any:
        self.metadata.append({str(key): value for key, value in context.invocation_metadata() or ()})
        self.requests.append(request.request_id)
        if self.faults.unary:
            await abort(context, self.faults.unary.pop(0))
        name = f"c-{request.request_id}"
        if name not in self.events:
            members = [chat_pb2.Member(user_id=user_id) for user_id in request.member_ids]
            created = chat_pb2.ConversationCreated(
                kind=request.kind, title=request.title, members=members, attributes=request.attributes
            )
            self.events[name] = [chat_pb2.ConversationEvent(version=1, created=created)]
        return chat_service_pb2.CreateConversationResponse(conversation=self._conversation(name, version=1))

    async def GetConversation(self, request: chat_service_pb2.GetConversationRequest, context: Context) -> Any:
        if self.faults.unary:
            await abort(context, self.faults.unary.pop(0))
        if request.conversation_id not in self.events:
            await abort(context, status(grpc.StatusCode.NOT_FOUND, "NOT_FOUND"))
        version = len(self.events[request.conversation_id])
        return chat_service_pb2.GetConversationResponse(
            conversation=self._conversation(request.conversation_id, version)
        )

    async def ListMessages(self, request: chat_service_pb2.ListMessagesRequest, context: Context) -> Any:
        assert request.oldest_first
        at = int(request.page_token or request.from_version)
        events = [e for e in self.events[request.conversation_id] if e.HasField("message") and e.version > at]
        page = events[: self.page]
        messages = [chat_pb2.Message(version=e.version, sender_id=e.actor_id, content=e.message) for e in page]
        more = str(page[-1].version) if len(events) > len(page) else ""
        return chat_service_pb2.ListMessagesResponse(messages=messages, next_page_token=more)

    async def Watch(self, request: chat_service_pb2.WatchRequest, context: Context) -> AsyncIterator[Any]:
        self.streams += 1
        left, drain = await self._fate(context)
        at = request.after_version
        while True:
            events = await self._after(request.conversation_id, at)
            if left == 0:
                await abort(context, status(grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE"))
            if drain == 0:
                yield chat_service_pb2.WatchResponse(going_away=chat_service_pb2.GoingAway(reconnect_after_ms=5))
                return
            left, drain = left - 1, drain - 1
            at = events[0].version
            yield chat_service_pb2.WatchResponse(events=[e for e in events[:1] if e.version != self.faults.skip])

    async def Converse(
        self, requests: AsyncIterator[chat_service_pb2.ConverseRequest], context: Context
    ) -> AsyncIterator[Any]:
        self.streams += 1
        left, drain = await self._fate(context)
        lose, self.faults.lose_answers = self.faults.lose_answers, False
        out: asyncio.Queue[chat_service_pb2.ConverseResponse] = asyncio.Queue()
        hearing: dict[str, asyncio.Task[None]] = {}

        async def read() -> None:
            async for frame in requests:
                for gone in frame.unsubscribe:
                    hearing.pop(gone.conversation_id).cancel()
                for wanted in frame.subscribe:
                    if wanted.conversation_id in hearing:
                        hearing[wanted.conversation_id].cancel()
                    hear = self._hear(wanted.conversation_id, wanted.after_version, out)
                    hearing[wanted.conversation_id] = asyncio.create_task(hear)
                results = [await self.take(send) for send in frame.sends]
                if results:
                    out.put_nowait(chat_service_pb2.ConverseResponse(results=results))

        reader = asyncio.create_task(read())
        try:
            while True:
                frame = await out.get()
                if left == 0 or (lose and frame.results):
                    await abort(context, status(grpc.StatusCode.UNAVAILABLE, "DRAINING"))
                if drain == 0:
                    yield chat_service_pb2.ConverseResponse(going_away=chat_service_pb2.GoingAway(reconnect_after_ms=5))
                    return
                left, drain = left - 1, drain - 1
                yield frame
        finally:
            for task in (reader, *hearing.values()):
                task.cancel()

    async def take(self, request: chat_service_pb2.SendMessageRequest) -> chat_service_pb2.SendResult:
        """Take a send, once a request id."""
        self.requests.append(request.request_id)
        refusal = self.faults.items.pop(request.content.text, None)
        if refusal is not None:
            return chat_service_pb2.SendResult(request_id=request.request_id, error=refusal)
        content = request.content.SerializeToString(deterministic=True)
        known = self.made.get(request.request_id)
        if known is None:
            events = self.events[request.conversation_id]
            known = self.made[request.request_id] = (content, len(events) + 1)
            event = chat_pb2.ConversationEvent(version=known[1], actor_id=request.sender_id, message=request.content)
            events.append(event)
            async with self._changed:
                self._changed.notify_all()
        if known[0] != content:
            error = status(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
            return chat_service_pb2.SendResult(request_id=request.request_id, error=error)
        return chat_service_pb2.SendResult(request_id=request.request_id, version=known[1])

    async def say(self, conversation: str, count: int) -> None:
        """Append messages as if somebody said them."""
        for number in range(count):
            name = f"said-{len(self.made)}"
            content = chat_pb2.MessageContent(text=f"{number}")
            await self.take(
                chat_service_pb2.SendMessageRequest(request_id=name, conversation_id=conversation, content=content)
            )

    async def _hear(self, conversation: str, at: int, out: asyncio.Queue[chat_service_pb2.ConverseResponse]) -> None:
        while True:
            events = await self._after(conversation, at)
            at = events[-1].version
            if self.faults.skip and conversation.endswith("ended"):
                return
            kept = [e for e in events if e.version != self.faults.skip]
            delivery = chat_service_pb2.Delivery(conversation_id=conversation, events=kept)
            out.put_nowait(chat_service_pb2.ConverseResponse(deliveries=[delivery]))

    async def _after(self, conversation: str, at: int) -> list[chat_pb2.ConversationEvent]:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.events[conversation]) > at)
        return self.events[conversation][at:]

    async def _fate(self, context: Context) -> tuple[int, int]:
        end = self.faults.frames.pop(0) if self.faults.frames else -1
        if isinstance(end, status_pb2.Status):
            await abort(context, end)
            raise AssertionError("aborted")
        return end, self.faults.drain_after.pop(0) if self.faults.drain_after else -1

    def _conversation(self, name: str, version: int) -> chat_pb2.Conversation:
        created = self.events[name][0].created
        return chat_pb2.Conversation(
            conversation_id=name,
            kind=created.kind,
            title=created.title,
            members=created.members,
            attributes=created.attributes,
            version=version,
        )


class Orders(order_service_pb2_grpc.OrderServiceServicer):
    """Orders in memory."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.orders: dict[str, tuple[bytes, order_pb2.Order]] = {}
        self.requests: list[str] = []
        self.items: dict[str, order_pb2.Item] = {}
        self.stock: dict[str, int] = {}
        self.unread = 0
        self._adjusted: set[str] = set()

    async def PutItem(self, request: order_service_pb2.PutItemRequest, context: Context) -> Any:
        if self.faults.unary:
            await abort(context, self.faults.unary.pop(0))
        item = order_pb2.Item(sku=request.sku, title=request.title, unit_price=request.unit_price)
        self.items[request.sku] = item
        return order_service_pb2.PutItemResponse(item=item)

    async def AdjustStock(self, request: order_service_pb2.AdjustStockRequest, context: Context) -> Any:
        if request.request_id not in self._adjusted:
            self._adjusted.add(request.request_id)
            self.stock[request.sku] = self.stock.get(request.sku, 0) + request.delta
        stock = order_pb2.Stock(sku=request.sku, available=self.stock[request.sku])
        return order_service_pb2.AdjustStockResponse(stock=stock)

    async def WatchOrder(self, request: order_service_pb2.WatchOrderRequest, context: Context) -> AsyncIterator[Any]:
        for version in range(request.after_version + 1, 6):
            if self.faults.frames and self.faults.frames[0] == 0:
                self.faults.frames.pop(0)
                yield order_service_pb2.WatchOrderResponse(reconnect_after_ms=5)
                return
            if self.faults.frames and isinstance(self.faults.frames[0], int):
                self.faults.frames[0] -= 1
            yield order_service_pb2.WatchOrderResponse(events=[order_pb2.OrderEvent(version=version)])

    async def PlaceOrders(
        self, requests: AsyncIterator[order_service_pb2.PlaceOrdersRequest], context: Context
    ) -> AsyncIterator[Any]:
        if self.faults.frames:
            found = self.faults.frames.pop(0)
            assert isinstance(found, status_pb2.Status)
            await abort(context, found)
        lose, self.faults.lose_answers = self.faults.lose_answers, False
        async for frame in requests:
            results = [self._place(order) for order in frame.orders]
            if lose:
                await abort(context, status(grpc.StatusCode.UNAVAILABLE, "DRAINING"))
            # Answers come in any order.
            yield order_service_pb2.PlaceOrdersResponse(results=reversed(results))

    def _place(self, request: order_service_pb2.PlaceOrderRequest) -> order_service_pb2.PlaceOrderResult:
        self.requests.append(request.request_id)
        refusal = self.faults.items.pop(request.customer_id, None)
        if refusal is not None:
            return order_service_pb2.PlaceOrderResult(request_id=request.request_id, error=refusal)
        content = request.SerializeToString(deterministic=True)
        replayed = request.request_id in self.orders
        if not replayed:
            order = order_pb2.Order(order_id=f"o-{request.request_id}", lines=request.lines)
            order.total.currency_code = request.lines[0].unit_price.currency_code
            order.total.minor_units = sum(line.quantity * line.unit_price.minor_units for line in request.lines)
            self.orders[request.request_id] = (content, order)
        known, order = self.orders[request.request_id]
        if known != content:
            error = status(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
            return order_service_pb2.PlaceOrderResult(request_id=request.request_id, error=error)
        return order_service_pb2.PlaceOrderResult(request_id=request.request_id, order=order, replayed=replayed)


@dataclass
class Harbour:
    """The services, and where they are."""

    chat: Chat
    orders: Orders
    target: str

    def client(self, token: str | Callable[[], str | Awaitable[str]] | None = "token") -> Client:
        """A client with little patience."""
        return Client(self.target, token, retry=FAST, timeout=30.0)


@asynccontextmanager
async def harbour() -> AsyncIterator[Harbour]:
    """Serve on a free port."""
    server = grpc.aio.server()
    chat, orders = Chat(), Orders()  # type: ignore[abstract]
    chat_service_pb2_grpc.add_ChatServiceServicer_to_server(chat, server)
    order_service_pb2_grpc.add_OrderServiceServicer_to_server(orders, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Harbour(chat, orders, f"127.0.0.1:{port}")
    finally:
        await server.stop(None)


async def first(count: int, items: AsyncIterator[Any]) -> list[Any]:
    """The first few items of a stream."""
    found: list[Any] = []
    async for item in items:
        found.append(item)
        if len(found) == count:
            break
    return found


def texts(events: Iterable[chat_pb2.ConversationEvent]) -> list[str]:
    """What messages say."""
    return [event.message.text for event in events if event.HasField("message")]
