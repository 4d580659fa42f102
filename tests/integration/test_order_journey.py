"""Orders from place to settled on real parts: the happy path and each way it can end otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb

from tests.integration.order_world import (
    GatewayWorld,
    OrderWorld,
    gateway_world,
    order_world,
    refused,
    request_id,
    wanted,
)
from tests.servers import NatsServer

PLACED = ["placed", "stock_reservation_requested"]
RESERVED = [*PLACED, "stock_reserved", "payment_authorization_requested"]
CONFIRMED = [*RESERVED, "payment_authorized", "confirmed"]


@dataclass
class World:
    order: OrderWorld
    gateway: GatewayWorld


@pytest.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[World]:
    async with (
        gateway_world(tmp_path) as gateway,
        order_world(own_nats_server.url, tmp_path, gateway.address) as order,
    ):
        yield World(order, gateway)


async def test_an_order_is_placed_confirmed_delivered_and_paid(world: World) -> None:
    shop, customer = world.order.shop, world.order.customer
    courier = world.order.user("rider", "courier")
    await shop.put("cup", 10, price=250)
    await shop.put("tea", 10, price=100, title="Green tea")
    placed = await customer.place(("cup", 1), ("tea", 2), ("cup", 1))
    assert (placed.state, placed.version) == (order_pb2.ORDER_STATE_PLACED, 2)
    assert placed.total.minor_units == 700
    assert [line.title for line in placed.lines] == ["Cup", "Green tea", "Cup"]
    order = await customer.confirmed(placed.order_id)
    assert order.payment_status == order_pb2.PAYMENT_STATUS_AUTHORIZED
    assert await shop.stock("cup") == (8, 0, 2)
    assert await shop.stock("tea") == (8, 0, 2)

    step = {"order_id": placed.order_id}
    accept = pb.AcceptOrderRequest(request_id=request_id(), courier_id="rider", **step)
    accepted = (await shop.call("AcceptOrder", accept)).order
    assert (accepted.state, accepted.courier_id) == (order_pb2.ORDER_STATE_ACCEPTED, "rider")
    assert (await shop.call("AcceptOrder", accept)).order == accepted
    await shop.call("DispatchOrder", pb.DispatchOrderRequest(request_id=request_id(), **step))
    assert await refused(customer.cancel(placed.order_id)) == "WRONG_ORDER_STATE"
    await courier.call("DeliverOrder", pb.DeliverOrderRequest(request_id=request_id(), **step))
    assert await customer.story(placed.order_id) == [
        *CONFIRMED,
        "accepted",
        "dispatched",
        "delivered",
        "payment_capture_requested",
        "payment_captured",
        "completed",
    ]
    order = await courier.get(placed.order_id)
    assert (order.state, order.settled) == (order_pb2.ORDER_STATE_COMPLETED, True)
    assert await world.gateway.state_of(placed.order_id) == "PAYMENT_STATE_CAPTURED"


async def test_events_that_others_act_on_carry_order_and_contact(world: World) -> None:
    await world.order.shop.put("cup", 5)
    placed = await world.order.customer.place(("cup", 1))
    async for frame in world.order.customer.watch(placed.order_id):
        for event in frame.events:
            if event.HasField("confirmed"):
                told = event.confirmed
                assert (told.order.order_id, told.order.version) == (placed.order_id, event.version)
                assert told.order.state == order_pb2.ORDER_STATE_CONFIRMED == event.state_after
                assert told.contact.email == "carol@example.org"
                return


@pytest.mark.parametrize("method", ["pm_declined", "pm_insufficient_funds", "pm_no_such_token"])
async def test_a_declined_payment_gives_the_stock_back(world: World, method: str) -> None:
    await world.order.shop.put("cup", 5)
    placed = await world.order.customer.place(("cup", 3), method=method)
    story = await world.order.customer.story(placed.order_id)
    assert story == [*RESERVED, "rejected", "stock_released", "settled"]
    order = await world.order.customer.get(placed.order_id)
    assert (order.reason, order.payment_status) == ("PAYMENT_DECLINED", order_pb2.PAYMENT_STATUS_DECLINED)
    assert await world.order.shop.stock("cup") == (5, 0, 0)


async def test_what_is_out_of_stock_is_rejected_and_the_rest_given_back(world: World) -> None:
    await world.order.shop.put("cup", 5)
    await world.order.shop.put("tea", 1)
    await world.order.shop.put("jam")
    placed = await world.order.customer.place(("cup", 2), ("tea", 2), ("jam", 1))
    assert await world.order.customer.story(placed.order_id) == [*PLACED, "rejected", "stock_released", "settled"]
    order = await world.order.customer.get(placed.order_id)
    assert (order.state, order.reason) == (order_pb2.ORDER_STATE_REJECTED, "OUT_OF_STOCK")
    assert await world.order.shop.stock("cup") == (5, 0, 0)
    assert await world.order.shop.stock("tea") == (1, 0, 0)


async def test_cancelling_a_confirmed_order_returns_stock_and_money(world: World) -> None:
    await world.order.shop.put("cup", 5)
    placed = await world.order.customer.place(("cup", 2))
    await world.order.customer.confirmed(placed.order_id)
    cancelled = await world.order.customer.cancel(placed.order_id)
    assert cancelled.state == order_pb2.ORDER_STATE_CANCELLED
    again = await world.order.customer.cancel(placed.order_id)
    assert again.state == order_pb2.ORDER_STATE_CANCELLED
    assert await world.order.customer.story(placed.order_id) == [
        *CONFIRMED,
        "cancelled",
        "payment_void_requested",
        "stock_released",
        "payment_voided",
        "settled",
    ]
    assert await world.order.shop.stock("cup") == (5, 0, 0)
    assert await world.gateway.state_of(placed.order_id) == "PAYMENT_STATE_VOIDED"


async def test_a_flash_sale_never_oversells(world: World) -> None:
    await world.order.shop.put("ticket", 100)
    ids = [
        order.order_id
        for order in await asyncio.gather(*(world.order.customer.place(("ticket", 1)) for _ in range(200)))
    ]
    ends = await asyncio.gather(*(_end(world.order, order_id) for order_id in ids))
    assert ends.count("CONFIRMED") == 100
    assert ends.count("OUT_OF_STOCK") == 100
    assert await world.order.shop.stock("ticket") == (0, 0, 100)


async def _end(world: OrderWorld, order_id: str) -> str:
    async with asyncio.timeout(60):
        async for frame in world.customer.watch(order_id):
            for event in frame.events:
                if event.HasField("confirmed"):
                    return "CONFIRMED"
                if event.HasField("rejected"):
                    return str(event.rejected.reason)
    raise AssertionError("the order ended silently")


async def test_placing_again_answers_as_the_first_time_and_changes_nothing(world: World) -> None:
    await world.order.shop.put("cup", 5, price=250)
    request = wanted(("cup", 2))
    first = await world.order.customer.call("PlaceOrder", request)
    await world.order.customer.confirmed(first.order.order_id)
    await world.order.shop.put("cup", price=999)
    second = await world.order.customer.call("PlaceOrder", request)
    assert second.replayed
    assert second.order == first.order
    assert await world.order.shop.stock("cup") == (3, 0, 2)
    request.lines[0].quantity = 3
    assert await refused(world.order.customer.call("PlaceOrder", request)) == "REQUEST_ID_REUSED"
    request.lines[0].sku = "no such item"
    assert await refused(world.order.customer.call("PlaceOrder", request)) == "REQUEST_ID_REUSED"
