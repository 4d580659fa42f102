"""Two Order processes on one log and one store: whoever is woken, each step counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tradewind.order.v1 import order_pb2

from services.order import kinds
from tests.integration.order_world import TENANT, GatewayWorld, OrderWorld, gateway_world, order_world
from tests.servers import NatsServer


@pytest.fixture
async def pair(
    own_nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[tuple[OrderWorld, OrderWorld, GatewayWorld]]:
    async with (
        gateway_world(tmp_path) as gateway,
        order_world(own_nats_server.url, tmp_path, gateway.address) as one,
        order_world(own_nats_server.url, tmp_path, gateway.address) as other,
    ):
        yield one, other, gateway


async def test_a_flash_sale_over_two_servers_never_oversells(
    pair: tuple[OrderWorld, OrderWorld, GatewayWorld],
) -> None:
    one, other, _ = pair
    await one.shop.put("ticket", 50)
    await one.shop.put("poster", 1000)
    lines = (("ticket", 1), ("poster", 1))
    placed = await asyncio.gather(*((one, other)[number % 2].customer.place(*lines) for number in range(100)))
    orders = await asyncio.gather(
        *((other, one)[number % 2].customer.until(order.order_id, _decided) for number, order in enumerate(placed))
    )
    states = [order.state for order in orders]
    assert states.count(order_pb2.ORDER_STATE_CONFIRMED) == 50
    assert states.count(order_pb2.ORDER_STATE_REJECTED) == 50
    for order in orders:
        if order.state == order_pb2.ORDER_STATE_REJECTED:
            assert (await one.customer.story(order.order_id))[-1] == "settled"
    assert await one.shop.stock("ticket") == await other.shop.stock("ticket") == (0, 0, 50)
    assert await other.shop.stock("poster") == (950, 0, 50)


async def test_two_wakes_of_one_order_at_once_are_harmless(
    pair: tuple[OrderWorld, OrderWorld, GatewayWorld],
) -> None:
    one, other, gateway = pair
    await one.shop.put("cup", 5)
    placed = await one.customer.place(("cup", 2), method="pm_slow:150")
    aggregate = kinds.order_id(TENANT, placed.order_id)
    wakes = [world.saga.carry_on(aggregate, None, again=again) for world in (one, other) for again in (False, True)]
    await asyncio.gather(*wakes)
    await one.customer.confirmed(placed.order_id)
    cancelled = await other.customer.cancel(placed.order_id)
    assert cancelled.state == order_pb2.ORDER_STATE_CANCELLED
    await asyncio.gather(*(world.saga.carry_on(aggregate, None, again=False) for world in (one, other)))
    story = await one.customer.story(placed.order_id)
    assert len(story) == len(set(story))
    assert story[-1] == "settled"
    assert await other.shop.stock("cup") == (5, 0, 0)
    assert await gateway.state_of(placed.order_id) == "PAYMENT_STATE_VOIDED"


def _decided(event: order_pb2.OrderEvent) -> bool:
    return event.HasField("confirmed") or event.HasField("rejected")
