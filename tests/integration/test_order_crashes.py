"""Crashes between an effect and its record: in this process at every question, and real processes killed with SIGKILL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb

from services.ledger.errors import DeadlineExceeded
from services.order.worker import Saga
from tests.integration.order_process import ServiceProcess
from tests.integration.order_world import User, gateway_world, order_world, request_id, wanted
from tests.servers import NatsServer


class Died(Exception):
    """A wake-up ended in the middle."""


def die_after(saga: Saga, monkeypatch: pytest.MonkeyPatch, question: int) -> list[int]:
    """Let the saga's wake-ups together get so many answers, then die once, with the answer in hand but nothing recorded."""
    asked = [0]
    ask = saga._ask

    async def dying(*args: Any) -> Any:
        answers = await ask(*args)
        asked[0] += 1
        if asked[0] == question:
            raise Died
        return answers

    monkeypatch.setattr(saga, "_ask", dying)
    return asked


@pytest.mark.parametrize("question", [1, 2, 3])
async def test_a_worker_that_dies_with_an_answer_in_hand_is_continued(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: int
) -> None:
    async with (
        gateway_world(tmp_path) as gateway,
        order_world(own_nats_server.url, tmp_path, gateway.address) as world,
    ):
        await world.shop.put("cup", 5)
        await world.shop.put("tea", 5)
        asked = die_after(world.saga, monkeypatch, question)
        placed = await world.customer.place(("cup", 2), ("tea", 1))
        await world.customer.confirmed(placed.order_id)
        assert asked[0] > 3
        assert await world.shop.stock("cup") == (3, 0, 2)
        assert await world.shop.stock("tea") == (4, 0, 1)
        assert await gateway.state_of(placed.order_id) == "PAYMENT_STATE_AUTHORIZED"


async def test_a_ledger_that_is_late_makes_no_dead_letter(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        gateway_world(tmp_path) as gateway,
        order_world(own_nats_server.url, tmp_path, gateway.address) as world,
    ):
        await world.shop.put("cup", 5)
        ask = world.saga._ask
        left = [7]

        async def late(*args: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise DeadlineExceeded("the deadline passed; the outcome is unknown")
            return await ask(*args)

        monkeypatch.setattr(world.saga, "_ask", late)
        placed = await world.customer.place(("cup", 2))
        await world.customer.confirmed(placed.order_id)
        assert not await world.ledger.dead_letters(0, 10)


async def test_cancelling_what_was_sold_but_never_recorded_gives_it_back(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies after the sale; before it is continued the order is cancelled, so nobody knows whether units were sold."""
    async with (
        gateway_world(tmp_path) as gateway,
        order_world(own_nats_server.url, tmp_path, gateway.address) as world,
    ):
        await world.shop.put("cup", 5)
        ask = world.saga._ask
        stuck = asyncio.Event()
        calls = 0

        async def sleeps_after_the_sale(*args: Any) -> Any:
            nonlocal calls
            answers = await ask(*args)
            calls += 1
            if calls == 3:
                stuck.set()
                await cancelled.wait()
            return answers

        cancelled = asyncio.Event()
        monkeypatch.setattr(world.saga, "_ask", sleeps_after_the_sale)
        placed = await world.customer.place(("cup", 2))
        async with asyncio.timeout(60):
            await stuck.wait()
        assert await world.shop.stock("cup") == (3, 0, 2)
        await world.customer.cancel(placed.order_id)
        cancelled.set()
        assert (await world.customer.story(placed.order_id))[-1] == "settled"
        assert await world.shop.stock("cup") == (5, 0, 0)
        assert await gateway.state_of(placed.order_id) == "PAYMENT_STATE_VOIDED"


@asynccontextmanager
async def processes(nats_url: str, folder: Path) -> AsyncIterator[tuple[ServiceProcess, ServiceProcess]]:
    """Order and the simulator, each in a process."""
    payments = ServiceProcess("services.payments_simulator", folder)
    await payments.start()
    order = ServiceProcess("services.order", folder, nats_urls=nats_url, payment_gateway=payments.address)
    try:
        await order.start()
        yield order, payments
    finally:
        await order.close()
        await payments.close()


async def test_order_is_killed_between_authorisation_and_record(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with processes(own_nats_server.url, tmp_path) as (order, _):
        await order.user("shop-1", "shop").put("cup", 5)
        # The gateway applies it and says nothing, so the worker waits with the effect done and nothing recorded.
        placed = await order.user("carol").place(("cup", 2), method="pm_timeout_after_apply")
        asked = order.user("carol").until(
            placed.order_id, lambda event: event.HasField("payment_authorization_requested")
        )
        assert (await asked).payment_status == order_pb2.PAYMENT_STATUS_AUTHORIZING
        await order.kill()
        await order.start()
        customer = order.user("carol")
        confirmed = await customer.confirmed(placed.order_id, 60)
        assert confirmed.payment_status == order_pb2.PAYMENT_STATUS_AUTHORIZED
        assert await customer.stock("cup") == (3, 0, 2)


async def test_orders_survive_any_number_of_kills(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Orders stream in while Order and the gateway are killed in turn; each is placed once, confirmed once, paid once."""
    count = 60
    async with processes(own_nats_server.url, tmp_path) as (order, payments):
        await order.user("shop-1", "shop").put("cup", count + 10)
        requests = [wanted(("cup", 1)) for _ in range(count)]
        room = asyncio.Semaphore(8)
        placing = [asyncio.create_task(_place_patiently(order, request, room)) for request in requests]
        for victim, answered in ((order, 1), (payments, 10), (order, 30)):
            await _answered(placing, answered)
            await victim.kill()
            await victim.start()
        ids = await asyncio.gather(*placing)
        assert len(set(ids)) == count
        customer = order.user("carol")
        await asyncio.gather(*(_confirmed_patiently(customer, order_id) for order_id in ids))
        assert await customer.stock("cup") == (10, 0, count)


async def _answered(placing: list[asyncio.Task[str]], count: int) -> None:
    """Wait until so many orders are answered."""
    while sum(task.done() for task in placing) < count:
        await asyncio.wait([task for task in placing if not task.done()], return_when=asyncio.FIRST_COMPLETED)


async def _place_patiently(order: ServiceProcess, request: pb.PlaceOrderRequest, room: asyncio.Semaphore) -> str:
    """Repeat one request until it is answered."""
    async with room, asyncio.timeout(60):
        while True:
            try:
                placed = await order.user("carol").call("PlaceOrder", request, timeout=5)
            except grpc.aio.AioRpcError as error:
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                await asyncio.sleep(0.1)
            else:
                return str(placed.order.order_id)


async def _confirmed_patiently(customer: User, order_id: str) -> None:
    order = await customer.confirmed(order_id, 60)
    assert order.state == order_pb2.ORDER_STATE_CONFIRMED


async def test_a_repeated_request_after_a_kill_is_the_first_answer(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with processes(own_nats_server.url, tmp_path) as (order, _):
        await order.user("shop-1", "shop").put("cup", 5)
        request = wanted(("cup", 2), request_id=request_id())
        first = await order.user("carol").call("PlaceOrder", request)
        await order.user("carol").confirmed(first.order.order_id)
        await order.kill()
        await order.start()
        second = await order.user("carol").call("PlaceOrder", request)
        assert second.replayed
        assert second.order == first.order
        assert await order.user("carol").stock("cup") == (3, 0, 2)
