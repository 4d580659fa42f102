"""Payments whose outcome is unknown: lost answers, late applies, gateways that are down; one authorisation, whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb

from services.ledger.ids import AggregateId
from services.order import kinds
from services.order.domain import deciding
from tests.integration.order_world import TENANT, GatewayWorld, OrderWorld, gateway_world, order_world, request_id
from tests.servers import NatsServer


@dataclass
class World:
    order: OrderWorld
    gateway: GatewayWorld


@pytest.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    # The real times are for real gateways; the rules are the same with shorter ones.
    monkeypatch.setattr(deciding, "AUTHORIZE_DEADLINE_US", 1_000_000)
    monkeypatch.setattr("services.order.worker.AUTHORIZE_DEADLINE_US", 1_000_000)
    monkeypatch.setattr(deciding, "LATE_US", 3_000_000)
    monkeypatch.setattr(deciding, "SKEW_US", 0)
    async with (
        gateway_world(tmp_path) as gateway,
        order_world(own_nats_server.url, tmp_path, gateway.address) as order,
    ):
        await order.shop.put("cup", 5)
        yield World(order, gateway)


@pytest.mark.parametrize(
    ("method", "delays"),
    [
        ("pm_timeout_after_apply", 0),
        ("pm_unavailable_after_apply", 0),
        ("pm_timeout_before_apply", 1),
        ("pm_internal_then_ok", 1),
        ("pm_unavailable_then_ok", 2),
        ("pm_slow:300", 0),
    ],
)
async def test_an_unknown_outcome_is_looked_up_and_the_order_confirmed(world: World, method: str, delays: int) -> None:
    placed = await world.order.customer.place(("cup", 2), method=method)
    await world.order.customer.confirmed(placed.order_id)
    events = await world.order.ledger.history(_aggregate(placed), limit=50)
    story = [order_pb2.OrderEvent.FromString(event.payload).WhichOneof("event") for event in events]
    assert story.count("step_delayed") == delays
    assert story.count("payment_authorized") == story.count("confirmed") == 1
    assert await world.gateway.state_of(placed.order_id) == "PAYMENT_STATE_AUTHORIZED"
    assert await world.order.shop.stock("cup") == (3, 0, 2)


@pytest.mark.parametrize("method", ["pm_capture_unavailable_then_ok:1", "pm_capture_timeout_after_apply"])
async def test_a_capture_whose_answer_is_lost_is_looked_up(
    world: World, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.gateway._SHORT_S", 1.0)
    shop = world.order.shop
    placed = await world.order.customer.place(("cup", 1), method=method)
    await world.order.customer.confirmed(placed.order_id)
    step = {"order_id": placed.order_id}
    await shop.call("AcceptOrder", pb.AcceptOrderRequest(request_id=request_id(), **step))
    await shop.call("DispatchOrder", pb.DispatchOrderRequest(request_id=request_id(), courier_id="rider", **step))
    await shop.call("DeliverOrder", pb.DeliverOrderRequest(request_id=request_id(), **step))
    story = await world.order.customer.story(placed.order_id)
    assert story[-2:] == ["payment_captured", "completed"]
    assert await world.gateway.state_of(placed.order_id) == "PAYMENT_STATE_CAPTURED"


async def test_cancelling_in_the_middle_of_an_unknown_authorisation_voids_the_late_success(world: World) -> None:
    """The gateway applies the authorisation after the order is cancelled, its stock released and a first void answered NOT_FOUND."""
    placed = await world.order.customer.place(("cup", 2), method="pm_late:2500")
    await world.order.customer.until(placed.order_id, lambda event: event.HasField("payment_authorization_requested"))
    cancelled = await world.order.customer.cancel(placed.order_id)
    assert cancelled.payment_status == order_pb2.PAYMENT_STATUS_VOIDING
    story = await world.order.customer.story(placed.order_id)
    assert story[4:] == [
        "cancelled",
        "payment_void_requested",
        "stock_released",
        "step_delayed",
        "payment_voided",
        "settled",
    ]
    assert await world.gateway.state_of(placed.order_id) == "PAYMENT_STATE_VOIDED"
    assert await world.order.shop.stock("cup") == (5, 0, 0)


async def test_cancelling_what_the_gateway_never_saw_ends_voided_too(world: World) -> None:
    placed = await world.order.customer.place(("cup", 2), method="pm_timeout_before_apply")
    await world.order.customer.until(placed.order_id, lambda event: event.HasField("payment_authorization_requested"))
    await world.order.customer.cancel(placed.order_id)
    story = await world.order.customer.story(placed.order_id)
    assert story[-2:] == ["payment_voided", "settled"]
    events = await world.order.ledger.history(_aggregate(placed), limit=50)
    voided = [order_pb2.OrderEvent.FromString(event.payload) for event in events]
    assert [event.payment_voided.existed for event in voided if event.HasField("payment_voided")] == [False]


@pytest.mark.parametrize("method", ["pm_void_unavailable_then_ok:1", "pm_void_timeout_after_apply"])
async def test_a_void_whose_answer_is_lost_is_asked_again(
    world: World, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.gateway._SHORT_S", 1.0)
    placed = await world.order.customer.place(("cup", 2), method=method)
    await world.order.customer.confirmed(placed.order_id)
    await world.order.customer.cancel(placed.order_id)
    assert (await world.order.customer.story(placed.order_id))[-2:] == ["payment_voided", "settled"]
    assert await world.gateway.state_of(placed.order_id) == "PAYMENT_STATE_VOIDED"


async def test_orders_wait_for_a_gateway_that_is_down(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as gateway:
        port = gateway.server.port
    async with order_world(own_nats_server.url, tmp_path, f"127.0.0.1:{port}") as order:
        await order.shop.put("cup", 5)
        placed = await order.customer.place(("cup", 1))
        await order.customer.until(placed.order_id, lambda event: event.HasField("step_delayed"))
        async with gateway_world(tmp_path, port) as gateway:
            await order.customer.confirmed(placed.order_id)
            assert await gateway.state_of(placed.order_id) == "PAYMENT_STATE_AUTHORIZED"


async def test_a_reservation_that_ran_out_during_an_outage_is_made_again(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with gateway_world(tmp_path) as gateway:
        port = gateway.server.port
    async with order_world(own_nats_server.url, tmp_path, f"127.0.0.1:{port}", reservation_lives=0.5) as order:
        await order.shop.put("cup", 5)
        placed = await order.customer.place(("cup", 2))
        await order.customer.until(placed.order_id, lambda event: event.HasField("step_delayed"))
        await _until_stock(order, (5, 0, 0))
        async with gateway_world(tmp_path, port):
            await order.customer.confirmed(placed.order_id)
        events = await order.ledger.history(_aggregate(placed), limit=50)
        story = [order_pb2.OrderEvent.FromString(event.payload).WhichOneof("event") for event in events]
        assert story.count("stock_reservation_requested") == 2
        assert story.count("payment_authorized") == 1
        assert await order.shop.stock("cup") == (3, 0, 2)


async def _until_stock(order: OrderWorld, expected: tuple[int, int, int]) -> None:
    until = time.monotonic() + 60
    while await order.shop.stock("cup") != expected:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


def _aggregate(order: order_pb2.Order) -> AggregateId:
    return kinds.order_id(TENANT, order.order_id)
