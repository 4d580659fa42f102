"""The streams of Order: exact resume, the end of a story, bulk orders one by one, drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb

from tests.integration.order_world import (
    OrderWorld,
    gateway_world,
    names,
    order_world,
    reason_in,
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
        await world.shop.put("cup", 1000)
        yield world


async def test_a_watch_resumes_exactly_at_every_version(order: OrderWorld) -> None:
    placed = await order.customer.place(("cup", 1))
    await order.customer.confirmed(placed.order_id)
    await order.customer.cancel(placed.order_id)
    whole = await _events(order, placed.order_id, 0)
    assert names(whole)[-1] == "settled"
    for after in range(len(whole) + 1):
        assert await _events(order, placed.order_id, after) == whole[after:]


async def test_a_watch_shows_events_as_they_happen(order: OrderWorld) -> None:
    placed = await order.customer.place(("cup", 1))
    await order.customer.confirmed(placed.order_id)
    call = order.customer.watch(placed.order_id, after=6)
    reading = asyncio.create_task(call.read())
    await order.shop.call("AcceptOrder", pb.AcceptOrderRequest(request_id=request_id(), order_id=placed.order_id))
    async with asyncio.timeout(60):
        frame = await reading
    assert names(frame.events) == ["accepted"]
    assert frame.events[0].version == 7
    call.cancel()


async def test_a_drain_ends_watches_with_a_time_to_come_back(order: OrderWorld) -> None:
    placed = await order.customer.place(("cup", 1))
    await order.customer.confirmed(placed.order_id)
    call = order.customer.watch(placed.order_id, after=6)
    bulk = order.customer.call("PlaceOrders")
    await bulk.write(pb.PlaceOrdersRequest(orders=[wanted(("cup", 1))]))
    assert len((await bulk.read()).results) == 1
    draining = asyncio.create_task(order.server.drain())
    async with asyncio.timeout(60):
        frame = await call.read()
        assert frame.reconnect_after_ms > 0
        assert await call.read() is grpc.aio.EOF
        frame = await bulk.read()
        assert frame.reconnect_after_ms > 0
        assert await bulk.read() is grpc.aio.EOF
        await draining


async def test_bulk_orders_are_answered_one_by_one_and_a_bad_one_ends_nothing(order: OrderWorld) -> None:
    good = [wanted(("cup", 1)) for _ in range(70)]
    bad = {
        "INVALID_FIELD": wanted(("cup", 0)),
        "UNKNOWN_ITEM": wanted(("no such item", 1)),
        "FORBIDDEN": wanted(("cup", 1), customer_id="someone-else"),
    }
    nameless = wanted(("cup", 1), request_id="not a uuid")
    call = order.customer.call("PlaceOrders")
    await call.write(pb.PlaceOrdersRequest(orders=[*bad.values(), nameless]))
    for start in (0, 64):
        await call.write(pb.PlaceOrdersRequest(orders=good[start : start + 64]))
    await call.write(pb.PlaceOrdersRequest(orders=good[:3]))
    await call.done_writing()
    results = await _results(call)
    assert len(results) == 70 + 4 + 3
    for reason, request in bad.items():
        (result,) = (result for result in results if result.request_id == request.request_id)
        assert reason_in(result.error) == reason
        assert not result.HasField("order")
    assert [reason_in(result.error) for result in results if result.request_id == "not a uuid"] == ["INVALID_FIELD"]
    by_request: dict[str, list[pb.PlaceOrderResult]] = {}
    for result in results:
        by_request.setdefault(result.request_id, []).append(result)
    for request in good:
        answers = by_request[request.request_id]
        assert len({answer.order.order_id for answer in answers}) == 1
        assert all(answer.order == answers[0].order for answer in answers)
    assert sorted(answer.replayed for answer in by_request[good[0].request_id]) == [False, True]
    for result in results:
        if result.HasField("order"):
            await order.customer.confirmed(result.order.order_id)
    assert await order.shop.stock("cup") == (930, 0, 70)


async def test_bulk_orders_wait_while_too_many_are_unanswered(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        gateway_world(tmp_path) as gateway,
        order_world(own_nats_server.url, tmp_path, gateway.address, place_orders_unanswered=2) as world,
    ):
        await world.shop.put("cup", 50)
        call = world.customer.call("PlaceOrders")
        requests = [wanted(("cup", 1)) for _ in range(30)]
        await call.write(pb.PlaceOrdersRequest(orders=requests))
        await call.done_writing()
        results = await _results(call)
        assert {result.request_id for result in results} == {request.request_id for request in requests}
        assert all(result.HasField("order") for result in results)


async def test_a_frame_with_too_many_orders_ends_the_stream(order: OrderWorld) -> None:
    call = order.customer.call("PlaceOrders")
    await call.write(pb.PlaceOrdersRequest(orders=[wanted(("cup", 1))] * 65))
    assert await refused(call.read()) == "INVALID_FIELD"


async def test_an_order_of_a_thousand_lines(order: OrderWorld) -> None:
    skus = [f"sku-{number}" for number in range(400)]
    await asyncio.gather(*(order.shop.put(sku, 10) for sku in skus))
    lines = [(skus[number % 400], 1) for number in range(1000)]
    placed = await order.customer.place(*lines)
    assert len(placed.lines) == 1000
    confirmed = await order.customer.confirmed(placed.order_id, 60)
    assert confirmed.total.minor_units == 250_000
    assert await order.shop.stock("sku-0") == (7, 0, 3)
    await order.customer.cancel(placed.order_id)
    assert (await order.customer.story(placed.order_id, 60))[-1] == "settled"
    assert await order.shop.stock("sku-0") == (10, 0, 0)


async def _events(order: OrderWorld, order_id: str, after: int) -> list[order_pb2.OrderEvent]:
    events: list[order_pb2.OrderEvent] = []
    async with asyncio.timeout(60):
        async for frame in order.customer.watch(order_id, after):
            events.extend(frame.events)
    return events


async def _results(call: object) -> list[pb.PlaceOrderResult]:
    results: list[pb.PlaceOrderResult] = []
    async with asyncio.timeout(60):
        async for frame in call:  # type: ignore[attr-defined]
            results.extend(frame.results)
    return results
