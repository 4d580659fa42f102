"""The rpcs of Order. Each turns its request into a command or a question, asks the ledger, and shows the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb

from services.ledger.decider import Request, View
from services.ledger.ids import fingerprint
from services.ledger.ledger import Ledger
from services.order import access, kinds, pages, projections
from services.order.access import Actor, actor_of
from services.order.config import OrderSettings
from services.order.domain import item, stock
from services.order.domain.commands import AcceptOrder, CancelOrder, DeliverOrder, DispatchOrder, OrderCommand
from services.order.domain.order import Order
from services.order.domain.refusal import Refused
from services.order.placing import Placing, now_us
from services.order.streams import place_many, watch
from services.order.wire import catalogue, orders, values
from services.runtime.call import Call

_PAGE: Final = 50

_StepRequest = pb.CancelOrderRequest | pb.AcceptOrderRequest | pb.DispatchOrderRequest | pb.DeliverOrderRequest


class OrderService:
    """Handlers of ``tradewind.order.v1.OrderService``; their contract is in ``order_service.proto``."""

    def __init__(self, ledger: Ledger, settings: OrderSettings) -> None:
        """Serve the orders that ``ledger`` holds."""
        self._ledger = ledger
        self._settings = settings
        self._placing = Placing(ledger)

    # --- items and stock ----------------------------------------------------------------------

    async def PutItem(self, request: pb.PutItemRequest, call: Call) -> pb.PutItemResponse:
        """Put an item into the shop's catalogue, or change it."""
        actor = actor_of(call.caller)
        shop_id = access.shop_to_change(actor, request.shop_id)
        aggregate = kinds.item_id(actor.tenant, shop_id, request.sku)
        price = values.to_money(request.unit_price)
        command = item.PutItem(now_us(), actor.user_id, shop_id, request.sku, request.title, price)
        await self._ledger.execute(aggregate, command, _named(request, call), timeout=call.remaining())
        view: View[item.Item] = await self._ledger.read(aggregate, fresh=False)
        return pb.PutItemResponse(item=catalogue.item(view.state, view.version))

    async def GetItem(self, request: pb.GetItemRequest, call: Call) -> pb.GetItemResponse:
        """Answer an item."""
        actor = actor_of(call.caller)
        shop_id = access.shop_to_read(actor, request.shop_id)
        view: View[item.Item] = await self._ledger.read(kinds.item_id(actor.tenant, shop_id, request.sku))
        if not view.version:
            raise Refused("NOT_FOUND", "the shop has no such item", resource=("item", request.sku))
        return pb.GetItemResponse(item=catalogue.item(view.state, view.version))

    async def AdjustStock(self, request: pb.AdjustStockRequest, call: Call) -> pb.AdjustStockResponse:
        """Add units to a stock, or take some out."""
        actor = actor_of(call.caller)
        shop_id = access.shop_to_change(actor, request.shop_id)
        location = request.location or kinds.MAIN
        aggregate = kinds.stock_id(actor.tenant, shop_id, request.sku, location)
        command = stock.Adjust(now_us(), actor.user_id, request.delta)
        await self._ledger.execute(aggregate, command, _named(request, call), timeout=call.remaining())
        view: View[stock.Stock] = await self._ledger.read(aggregate, fresh=False)
        shown = catalogue.stock(view.state, view.version, shop_id, request.sku, location)
        return pb.AdjustStockResponse(stock=shown)

    async def GetStock(self, request: pb.GetStockRequest, call: Call) -> pb.GetStockResponse:
        """Answer a stock; all zero where nothing was ever put in."""
        actor = actor_of(call.caller)
        shop_id = access.shop_to_read(actor, request.shop_id)
        location = request.location or kinds.MAIN
        view: View[stock.Stock] = await self._ledger.read(kinds.stock_id(actor.tenant, shop_id, request.sku, location))
        shown = catalogue.stock(view.state, view.version, shop_id, request.sku, location)
        return pb.GetStockResponse(stock=shown)

    # --- orders -------------------------------------------------------------------------------

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, call: Call) -> pb.PlaceOrderResponse:
        """Place an order."""
        order, replayed = await self._placing.place(request, actor_of(call.caller), call)
        return pb.PlaceOrderResponse(order=order, replayed=replayed)

    def PlaceOrders(
        self, requests: AsyncIterator[pb.PlaceOrdersRequest], call: Call
    ) -> AsyncIterator[pb.PlaceOrdersResponse]:
        """Place many orders, each answered on its own."""
        return place_many(self._placing, requests, call, self._settings)

    async def GetOrder(self, request: pb.GetOrderRequest, call: Call) -> pb.GetOrderResponse:
        """Answer an order as it stands."""
        actor = actor_of(call.caller)
        view: View[Order] = await self._ledger.read(kinds.order_id(actor.tenant, request.order_id))
        order = access.visible(actor, view.state, request.order_id)
        return pb.GetOrderResponse(order=orders.order(order, view.version))

    async def ListOrders(self, request: pb.ListOrdersRequest, call: Call) -> pb.ListOrdersResponse:
        """List orders of a customer or of a shop, newest first."""
        table, partition = _listed(actor_of(call.caller), request)
        size, listing = request.page_size or _PAGE, f"{table}/{partition}"
        after = pages.order_id_in(request.page_token, listing) if request.page_token else None
        rows = await self._ledger.rows(table, partition, after=after, limit=size + 1, descending=True)
        page = pages.fitting([row.value or b"" for row in rows[:size]])
        token = pages.token_after(rows[len(page) - 1].key, listing) if len(rows) > len(page) else ""
        return pb.ListOrdersResponse(orders=map(order_pb2.Order.FromString, page), next_page_token=token)

    async def CancelOrder(self, request: pb.CancelOrderRequest, call: Call) -> pb.CancelOrderResponse:
        """Call an order off."""
        actor, state = await self._seen(request.order_id, call)
        access.require(access.is_customer_of(actor, state) or access.is_shop_of(actor, state))
        command = CancelOrder(now_us(), actor.user_id, request.reason)
        return pb.CancelOrderResponse(order=await self._done(request, command, call))

    async def AcceptOrder(self, request: pb.AcceptOrderRequest, call: Call) -> pb.AcceptOrderResponse:
        """Take a confirmed order, as its shop."""
        actor, state = await self._seen(request.order_id, call)
        access.require(access.is_shop_of(actor, state))
        command = AcceptOrder(now_us(), actor.user_id, request.courier_id)
        return pb.AcceptOrderResponse(order=await self._done(request, command, call))

    async def DispatchOrder(self, request: pb.DispatchOrderRequest, call: Call) -> pb.DispatchOrderResponse:
        """Give an accepted order to a courier."""
        actor, state = await self._seen(request.order_id, call)
        access.require(access.is_shop_of(actor, state))
        command = DispatchOrder(now_us(), actor.user_id, request.courier_id)
        return pb.DispatchOrderResponse(order=await self._done(request, command, call))

    async def DeliverOrder(self, request: pb.DeliverOrderRequest, call: Call) -> pb.DeliverOrderResponse:
        """Say that the customer has it."""
        actor, state = await self._seen(request.order_id, call)
        access.require(access.is_shop_of(actor, state) or access.is_courier_of(actor, state))
        command = DeliverOrder(now_us(), actor.user_id)
        return pb.DeliverOrderResponse(order=await self._done(request, command, call))

    def WatchOrder(self, request: pb.WatchOrderRequest, call: Call) -> AsyncIterator[pb.WatchOrderResponse | bytes]:
        """Stream an order's events from a version on."""
        return watch(self._ledger, request, call, self._settings)

    async def _seen(self, order_id: str, call: Call) -> tuple[Actor, Order]:
        """Give who acts and the order, where it may be seen. Raises Refused (NOT_FOUND)."""
        actor = actor_of(call.caller)
        aggregate = kinds.order_id(actor.tenant, order_id)
        # What this process remembers will mostly do: an order's customer and shop never change, and the decider sees the newest.
        view: View[Order] = await self._ledger.read(aggregate, fresh=False)
        if not access.may_see(actor, view.state):
            view = await self._ledger.read(aggregate)  # another process may just have placed it, or named its courier
        return actor, access.visible(actor, view.state, order_id)

    async def _done(self, request: _StepRequest, command: OrderCommand, call: Call) -> order_pb2.Order:
        """Execute a step, and show the order as it then stands."""
        aggregate = kinds.order_id(call.caller.tenant, request.order_id)
        await self._ledger.execute(aggregate, command, _named(request, call), timeout=call.remaining())
        view: View[Order] = await self._ledger.read(aggregate, fresh=False)
        return orders.order(view.state, view.version)


def _named(request: _StepRequest | pb.PutItemRequest | pb.AdjustStockRequest, call: Call) -> Request:
    """Name a command by its request id and content."""
    content = fingerprint(call.method, request.SerializeToString(deterministic=True))
    return Request(request.request_id, content, call.traceparent)


def _listed(actor: Actor, request: pb.ListOrdersRequest) -> tuple[str, str]:
    """Give the read model and the partition that are listed. Raises Refused (FORBIDDEN, INVALID_FIELD)."""
    if request.shop_id and request.customer_id:
        raise Refused("INVALID_FIELD", "name a shop or a customer, not both", field="customer_id")
    if request.shop_id:
        if not actor.oversees and not (actor.is_shop and actor.user_id == request.shop_id):
            raise Refused("FORBIDDEN", "only the shop itself lists its orders", field="shop_id")
        return projections.BY_SHOP, projections.of_shop(actor.tenant, request.shop_id)
    customer_id = request.customer_id or actor.user_id
    if customer_id != actor.user_id and not actor.oversees:
        raise Refused("FORBIDDEN", "only roles admin and service list another's orders", field="customer_id")
    return projections.BY_CUSTOMER, projections.of_customer(actor.tenant, customer_id)
