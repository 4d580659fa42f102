"""Order, as methods."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping

from tradewind.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc
from tradewind.sdk._bulk import BulkWire, Outcome, in_bulk
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Frame, Place, watching
from tradewind.type.v1 import money_pb2

PlaceOutcome = Outcome[order_service_pb2.PlaceOrderRequest, order_service_pb2.PlaceOrderResult]
"""What became of one order of many."""


class Orders:
    """Orders, items and stock. Every method raises TradewindError; `timeout` is in seconds and covers all tries of a call.

    Writes take a `request_id`; without one it is made here, once, and kept over retries.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = order_service_pb2_grpc.OrderServiceStub(connection.channel)

    async def put_item(
        self,
        sku: str,
        unit_price: money_pb2.Money,
        *,
        title: str = "",
        shop_id: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> order_pb2.Item:
        """Put an item into a shop's catalogue, or change it."""
        request = order_service_pb2.PutItemRequest(
            request_id=request_id or new_request_id(), shop_id=shop_id, sku=sku, title=title, unit_price=unit_price
        )
        return (await self._connection.unary(self._stub.PutItem, request, timeout)).item

    async def get_item(self, sku: str, *, shop_id: str = "", timeout: float | None = None) -> order_pb2.Item:
        """Get an item. Raises NotFound."""
        request = order_service_pb2.GetItemRequest(shop_id=shop_id, sku=sku)
        return (await self._connection.unary(self._stub.GetItem, request, timeout)).item

    async def adjust_stock(
        self,
        sku: str,
        delta: int,
        *,
        shop_id: str = "",
        location: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> order_pb2.Stock:
        """Add units to a stock (positive) or take some out (negative)."""
        request = order_service_pb2.AdjustStockRequest(
            request_id=request_id or new_request_id(), shop_id=shop_id, sku=sku, location=location, delta=delta
        )
        return (await self._connection.unary(self._stub.AdjustStock, request, timeout)).stock

    async def get_stock(
        self, sku: str, *, shop_id: str = "", location: str = "", timeout: float | None = None
    ) -> order_pb2.Stock:
        """Get a stock; all zero where nothing was ever put in."""
        request = order_service_pb2.GetStockRequest(shop_id=shop_id, sku=sku, location=location)
        return (await self._connection.unary(self._stub.GetStock, request, timeout)).stock

    async def place_order(
        self,
        shop_id: str,
        lines: Iterable[order_pb2.OrderLine],
        payment_method: str,
        *,
        customer_id: str = "",
        contact: order_pb2.Contact | None = None,
        location: str = "",
        attributes: Mapping[str, str] | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> order_service_pb2.PlaceOrderResponse:
        """Place an order: answered once it cannot be lost; stock and payment follow by themselves (`watch` shows them)."""
        request = order_service_pb2.PlaceOrderRequest(
            request_id=request_id or new_request_id(),
            customer_id=customer_id,
            shop_id=shop_id,
            lines=lines,
            payment_method=payment_method,
            contact=contact,
            location=location,
            attributes=attributes or {},
        )
        return await self._connection.unary(self._stub.PlaceOrder, request, timeout)

    def place_orders(
        self,
        requests: Iterable[order_service_pb2.PlaceOrderRequest] | AsyncIterable[order_service_pb2.PlaceOrderRequest],
        *,
        window: int = 256,
        timeout: float | None = None,
    ) -> AsyncGenerator[PlaceOutcome, None]:
        """Place many orders over one stream; yields an outcome for each, in any order. Requests carry request ids of their own.

        At most `window` are unanswered, and no more than that is read ahead of what was yielded. After a reconnect the unanswered ones
        are sent again.
        """
        wire: BulkWire[order_service_pb2.PlaceOrderRequest, order_service_pb2.PlaceOrderResult] = BulkWire(
            self._stub.PlaceOrders, lambda orders: order_service_pb2.PlaceOrdersRequest(orders=orders)
        )
        wait = self._connection.timeout if timeout is None else timeout
        return in_bulk(self._connection, wire, requests, window=window, timeout=wait)

    async def get_order(self, order_id: str, *, timeout: float | None = None) -> order_pb2.Order:
        """Get an order as it stands. Raises NotFound."""
        request = order_service_pb2.GetOrderRequest(order_id=order_id)
        return (await self._connection.unary(self._stub.GetOrder, request, timeout)).order

    async def list_orders(
        self, *, customer_id: str = "", shop_id: str = "", page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[order_pb2.Order, None]:
        """Iterate over orders of a shop or of a customer (both empty: the caller), newest first; pages are fetched as needed."""
        token = ""
        while True:
            request = order_service_pb2.ListOrdersRequest(
                shop_id=shop_id, customer_id=customer_id, page_size=page_size, page_token=token
            )
            page = await self._connection.unary(self._stub.ListOrders, request, timeout)
            for order in page.orders:
                yield order
            token = page.next_page_token
            if not token:
                return

    async def cancel_order(
        self, order_id: str, *, reason: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> order_pb2.Order:
        """Call an order off, until it is dispatched."""
        request = order_service_pb2.CancelOrderRequest(
            request_id=request_id or new_request_id(), order_id=order_id, reason=reason
        )
        return (await self._connection.unary(self._stub.CancelOrder, request, timeout)).order

    async def accept_order(
        self, order_id: str, *, courier_id: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> order_pb2.Order:
        """Take a confirmed order, as its shop."""
        request = order_service_pb2.AcceptOrderRequest(
            request_id=request_id or new_request_id(), order_id=order_id, courier_id=courier_id
        )
        return (await self._connection.unary(self._stub.AcceptOrder, request, timeout)).order

    async def dispatch_order(
        self, order_id: str, *, courier_id: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> order_pb2.Order:
        """Give an accepted order to a courier, as its shop."""
        request = order_service_pb2.DispatchOrderRequest(
            request_id=request_id or new_request_id(), order_id=order_id, courier_id=courier_id
        )
        return (await self._connection.unary(self._stub.DispatchOrder, request, timeout)).order

    async def deliver_order(
        self, order_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> order_pb2.Order:
        """Say that the customer has it, as its courier or shop."""
        request = order_service_pb2.DeliverOrderRequest(request_id=request_id or new_request_id(), order_id=order_id)
        return (await self._connection.unary(self._stub.DeliverOrder, request, timeout)).order

    def watch(self, order_id: str, after: int = 0) -> AsyncGenerator[order_pb2.OrderEvent, None]:
        """Iterate over an order's events from the one after version `after` on, over any number of reconnects.

        Each comes once and none is missing; it ends by itself after the last event there will be. Raises TradewindError, as `Chat.watch`.
        """
        place = Place(order_id, after)

        def open_call(**context: object) -> object:
            request = order_service_pb2.WatchOrderRequest(order_id=order_id, after_version=place.last)
            return self._stub.WatchOrder(request, **context)  # type: ignore[arg-type]

        def read(frame: order_service_pb2.WatchOrderResponse) -> Frame:
            return Frame(frame.events, frame.reconnect_after_ms)

        return watching(self._connection, open_call, read, place, ends=True)
