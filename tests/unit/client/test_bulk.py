from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from tradewind.order.v1 import order_pb2, order_service_pb2
from tradewind.sdk import InvalidArgument, PermissionDenied, Transient, derive_request_id
from tradewind.type.v1 import money_pb2

from tests.unit.client.harbour import Harbour, status


def order(number: int, sku: str = "A") -> order_service_pb2.PlaceOrderRequest:
    price = money_pb2.Money(currency_code="GBP", minor_units=100)
    return order_service_pb2.PlaceOrderRequest(
        request_id=derive_request_id(number, "test"),
        customer_id=f"customer-{number}",
        shop_id="shop",
        lines=[order_pb2.OrderLine(sku=sku, quantity=1, unit_price=price)],
        payment_method="pm_visa_ok",
    )


async def test_every_order_has_its_outcome(port: Harbour) -> None:
    async with port.client() as client:
        outcomes = [outcome async for outcome in client.order.place_orders(order(n) for n in range(500))]
        again = [outcome async for outcome in client.order.place_orders([order(n) for n in range(3)])]
    assert {outcome.request.customer_id for outcome in outcomes} == {f"customer-{n}" for n in range(500)}
    assert all(outcome.result is not None and not outcome.result.replayed for outcome in outcomes)
    assert all(outcome.result is not None and outcome.result.replayed for outcome in again)


async def test_lost_answers_are_asked_for_again(port: Harbour) -> None:
    port.orders.faults.lose_answers = True
    async with port.client() as client:
        outcomes = [outcome async for outcome in client.order.place_orders(order(n) for n in range(100))]
    assert len(outcomes) == len(port.orders.orders) == 100
    assert all(outcome.error is None for outcome in outcomes)


async def test_refused_orders_are_outcomes_and_transient_ones_are_repeated(port: Harbour) -> None:
    port.orders.faults.items = {
        "customer-1": status(grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN"),
        "customer-2": status(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after=0.01),
    }
    requests = [order(0), order(1), order(2), order(3, sku="x" * 65)]
    async with port.client() as client:
        outcomes = {o.request.customer_id: o async for o in client.order.place_orders(requests)}
    assert isinstance(outcomes["customer-1"].error, PermissionDenied)
    assert isinstance(outcomes["customer-3"].error, InvalidArgument)
    assert outcomes["customer-0"].result is not None
    assert outcomes["customer-2"].result is not None


async def test_no_more_is_read_than_the_window_holds(port: Harbour) -> None:
    read = 0

    async def endless() -> AsyncIterator[order_service_pb2.PlaceOrderRequest]:
        nonlocal read
        while True:
            read += 1
            yield order(read)

    async with port.client() as client:
        outcomes = client.order.place_orders(endless(), window=10)
        for seen in range(30):
            await anext(outcomes)
            assert read <= seen + 12
        await outcomes.aclose()


async def test_a_refused_stream_raises(port: Harbour) -> None:
    # More than once: a write under way when a stream ends may hide why it ended, and then it is tried again.
    port.orders.faults.frames = [status(grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")] * 5
    async with port.client() as client:
        with pytest.raises(PermissionDenied):
            [outcome async for outcome in client.order.place_orders([order(1)])]


async def test_patience_with_a_stream_ends(port: Harbour) -> None:
    port.orders.faults.frames = [status(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")] * 1000
    async with port.client() as client:
        # Where the end of a stream meets a write, gRPC may tell of the write alone.
        with pytest.raises(Transient):
            [outcome async for outcome in client.order.place_orders(order(n) for n in range(500))]


async def test_what_the_iterable_raises_comes_through(port: Harbour) -> None:
    def broken() -> Iterator[order_service_pb2.PlaceOrderRequest]:
        yield order(1)
        raise LookupError("on purpose")

    async with port.client() as client:
        with pytest.raises(LookupError):
            [outcome async for outcome in client.order.place_orders(broken())]
