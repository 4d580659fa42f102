"""Who may see and do what in Order, the catalogue, and listings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb

from tests.integration.order_world import (
    SHOP,
    OrderWorld,
    gateway_world,
    gbp,
    order_world,
    refused,
    request_id,
    wanted,
)
from tests.servers import NatsServer


@pytest.fixture
async def order(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[OrderWorld]:
    async with (
        gateway_world(tmp_path) as gateway,
        order_world(own_nats_server.url, tmp_path, gateway.address) as world,
    ):
        await world.shop.put("cup", 100)
        yield world


async def test_orders_of_others_do_not_exist(order: OrderWorld) -> None:
    placed = await order.customer.place(("cup", 1))
    await order.customer.confirmed(placed.order_id)
    strangers = [
        order.user("mallory"),
        order.user("shop-2", "shop"),
        order.user("rider-2", "courier"),
        order.user("carol", tenant="other"),
        order.user("boss", "admin", tenant="other"),
    ]
    for stranger in strangers:
        assert await refused(stranger.get(placed.order_id)) == "NOT_FOUND"
        assert await refused(stranger.watch(placed.order_id).read()) == "NOT_FOUND"
    for stranger in (strangers[0], strangers[1]):
        assert await refused(stranger.cancel(placed.order_id)) == "NOT_FOUND"
    accept = pb.AcceptOrderRequest(request_id=request_id(), order_id=placed.order_id)
    assert await refused(strangers[1].call("AcceptOrder", accept)) == "NOT_FOUND"
    for insider in (order.customer, order.shop, order.user("boss", "admin"), order.user("mail", "service")):
        assert (await insider.get(placed.order_id)).order_id == placed.order_id


async def test_steps_belong_to_their_people(order: OrderWorld) -> None:
    placed = await order.customer.place(("cup", 1))
    await order.customer.confirmed(placed.order_id)
    step = {"order_id": placed.order_id}
    accept = pb.AcceptOrderRequest(request_id=request_id(), courier_id="rider", **step)
    assert await refused(order.customer.call("AcceptOrder", accept)) == "FORBIDDEN"
    assert await refused(order.user("carol", "customer", "shop").call("AcceptOrder", accept)) == "FORBIDDEN"
    await order.shop.call("AcceptOrder", accept)
    rider = order.user("rider", "courier")
    assert (await rider.get(placed.order_id)).courier_id == "rider"
    await order.shop.call("DispatchOrder", pb.DispatchOrderRequest(request_id=request_id(), **step))
    deliver = pb.DeliverOrderRequest(request_id=request_id(), **step)
    assert await refused(order.user("carol", "customer", "courier").call("DeliverOrder", deliver)) == "FORBIDDEN"
    assert (await rider.call("DeliverOrder", deliver)).order.state == order_pb2.ORDER_STATE_DELIVERED


async def test_prices_are_the_shops(order: OrderWorld) -> None:
    def priced(**fields: str) -> pb.PlaceOrderRequest:
        request = wanted(**fields)
        request.lines.add(sku="cup", quantity=2, unit_price=gbp(1), title="Bargain")
        return request

    assert await refused(order.customer.call("PlaceOrder", priced())) == "FORBIDDEN"
    assert await refused(order.user("shop-2", "shop").call("PlaceOrder", priced())) == "FORBIDDEN"
    for seller in (order.shop, order.user("import", "service")):
        placed = (await seller.call("PlaceOrder", priced(customer_id="dave"))).order
        assert (placed.customer_id, placed.total.minor_units) == ("dave", 2)
        assert placed.lines[0].title == "Bargain"
        assert (await order.user("dave").get(placed.order_id)).order_id == placed.order_id
    mixed = wanted(("cup", 1))
    mixed.lines.add(sku="cup", quantity=1, unit_price={"currency_code": "EUR", "minor_units": 5})
    assert await refused(order.shop.call("PlaceOrder", mixed)) == "CURRENCY_MISMATCH"
    huge = wanted()
    huge.lines.add(sku="cup", quantity=1_000_000, unit_price=gbp(2**62))
    assert await refused(order.shop.call("PlaceOrder", huge)) == "INVALID_FIELD"


async def test_catalogue_and_stock(order: OrderWorld) -> None:
    item = (await order.customer.call("GetItem", pb.GetItemRequest(shop_id=SHOP, sku="cup"))).item
    assert (item.title, item.unit_price.minor_units, item.version) == ("Cup", 250, 1)
    assert await refused(order.shop.call("GetItem", pb.GetItemRequest(sku="nothing"))) == "NOT_FOUND"
    assert await order.shop.stock("nothing") == (0, 0, 0)
    put = pb.PutItemRequest(request_id=request_id(), shop_id=SHOP, sku="cup", unit_price=gbp(-1))
    assert await refused(order.shop.call("PutItem", put)) == "INVALID_FIELD"
    assert await refused(order.user("shop-2", "shop").call("PutItem", put)) == "FORBIDDEN"
    assert await refused(order.customer.call("PutItem", put)) == "FORBIDDEN"
    take = pb.AdjustStockRequest(request_id=request_id(), sku="cup", delta=-101)
    assert await refused(order.shop.call("AdjustStock", take)) == "STOCK_BELOW_ZERO"
    add = pb.AdjustStockRequest(request_id=request_id(), shop_id=SHOP, sku="cup", delta=5, location="north")
    for _ in range(2):
        stock = (await order.user("boss", "admin").call("AdjustStock", add)).stock
        assert (stock.available, stock.location) == (5, "north")
    assert await order.shop.stock("cup") == (100, 0, 0)


async def test_listings_are_paged_newest_first(order: OrderWorld) -> None:
    placed = [(await order.customer.place(("cup", 1))).order_id for _ in range(7)]
    other = (await order.user("dave").place(("cup", 1))).order_id
    await order.customer.confirmed(placed[-1])

    async def listed(who: object, **fields: object) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            request = pb.ListOrdersRequest(page_size=3, page_token=token, **fields)  # type: ignore[arg-type]
            page = await who.call("ListOrders", request)  # type: ignore[attr-defined]
            found.extend(each.order_id for each in page.orders)
            token = page.next_page_token
            if not token:
                return found

    assert await listed(order.customer) == sorted(placed, reverse=True)
    assert await listed(order.shop, shop_id=SHOP) == sorted([*placed, other], reverse=True)
    boss = order.user("boss", "admin")
    assert await listed(boss, customer_id="dave") == [other]
    newest = (await order.customer.call("ListOrders", pb.ListOrdersRequest(page_size=1))).orders[0]
    assert newest == await order.customer.get(placed[-1])
    assert await refused(listed(order.customer, shop_id=SHOP)) == "FORBIDDEN"
    assert await refused(listed(order.customer, customer_id="dave")) == "FORBIDDEN"


async def test_a_page_token_fits_its_own_listing_only(order: OrderWorld) -> None:
    for _ in range(2):
        await order.customer.place(("cup", 1))
    first = pb.ListOrdersRequest(page_size=1)
    token = (await order.customer.call("ListOrders", first)).next_page_token
    assert token
    wrong = pb.ListOrdersRequest(page_size=1, page_token=token)
    assert await refused(order.user("dave").call("ListOrders", wrong)) == "INVALID_PAGE_TOKEN"
    for broken in ("x", token[:-2], token + "AA!", "A" * 64):
        request = pb.ListOrdersRequest(page_token=broken)
        assert await refused(order.customer.call("ListOrders", request)) == "INVALID_PAGE_TOKEN"
