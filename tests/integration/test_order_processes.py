"""Two processes of Order on one log, one store and one gateway: any takes any call, work is shared, and one may die at any moment."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import grpc
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb

from tests.integration.order_process import ServiceProcess
from tests.integration.order_world import SHOP, User, gbp, request_id
from tests.servers import NatsServer

GATEWAY = "services.payments_simulator"


@asynccontextmanager
async def processes(nats_url: str, folder: Path, count: int = 2) -> AsyncIterator[list[ServiceProcess]]:
    """So many processes of Order, and a gateway."""
    async with AsyncExitStack() as stack:
        gateway = ServiceProcess(GATEWAY, folder)
        stack.push_async_callback(gateway.close)
        await gateway.start()
        made = [
            ServiceProcess("services.order", folder, nats_urls=nats_url, payment_gateway=gateway.address)
            for _ in range(count)
        ]
        for process in made:
            stack.push_async_callback(process.close)
        await asyncio.gather(*(process.start() for process in made))
        yield made


def payments(folder: Path) -> list[tuple[str, int]]:
    """What the gateway's book holds: the key and the state of every payment."""
    with closing(sqlite3.connect(folder / f"{GATEWAY}.db")) as book:
        return list(book.execute("SELECT payment_key, state FROM payments"))


async def test_what_a_killed_process_was_at_goes_on_in_the_other(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Half of the sagas wait for a slow gateway when one of the two dies; all orders are confirmed, paid once and sold once."""
    count = 40
    async with processes(own_nats_server.url, tmp_path) as (one, other):
        await other.user(SHOP, "shop").put("cup", count)
        customers = [process.user("carol") for process in (one, other)]
        placed = await asyncio.gather(
            *(customers[number % 2].place(("cup", 1), method="pm_slow:700") for number in range(count))
        )
        await one.kill()
        died = time.monotonic()
        orders = await asyncio.gather(*(customers[1].confirmed(order.order_id) for order in placed))
        took = time.monotonic() - died
        assert {order.state for order in orders} == {order_pb2.ORDER_STATE_CONFIRMED}
        assert await customers[1].stock("cup") == (0, 0, count)
        assert took < 50, took  # a process that is only slow is given a minute
    booked = payments(tmp_path)
    assert sorted(key for key, _ in booked) == sorted(f"order-{order.order_id}" for order in placed)
    assert {state for _, state in booked} == {1}  # authorised, each once


async def test_a_flash_sale_over_two_processes_never_oversells(own_nats_server: NatsServer, tmp_path: Path) -> None:
    units, count = 60, 150
    async with processes(own_nats_server.url, tmp_path) as (one, other):
        await one.user(SHOP, "shop").put("ticket", units)
        customers = [process.user("carol") for process in (one, other)]
        placed = await asyncio.gather(*(customers[number % 2].place(("ticket", 1)) for number in range(count)))
        orders = await asyncio.gather(
            *(customers[number % 2].until(order.order_id, _decided, 60) for number, order in enumerate(placed, 1))
        )
        states = [order.state for order in orders]
        assert states.count(order_pb2.ORDER_STATE_CONFIRMED) == units
        assert states.count(order_pb2.ORDER_STATE_REJECTED) == count - units
        for customer in customers:
            assert await customer.stock("ticket") == (0, 0, units)


async def test_what_one_process_was_told_the_other_knows(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Each step is asked of the process that did not take the one before it, at once."""
    async with processes(own_nats_server.url, tmp_path) as (one, other):
        shops = [process.user(SHOP, "shop") for process in (one, other)]
        customers = [process.user("carol") for process in (one, other)]
        couriers = [process.user("cody", "courier") for process in (one, other)]
        # It remembers that there is none.
        assert await _code(customers[1].place(("vase", 1))) is grpc.StatusCode.FAILED_PRECONDITION
        await shops[0].put("vase", 30)
        for number in range(10):
            first, second = number % 2, (number + 1) % 2
            await shops[first].call("PutItem", _item(f"vase-{number}"))
            assert await customers[second].place((f"vase-{number}", 1))
            order_id = (await customers[second].place(("vase", 1))).order_id
            await customers[first].confirmed(order_id)
            accept = pb.AcceptOrderRequest(request_id=request_id(), order_id=order_id)
            await shops[second].call("AcceptOrder", accept)
            dispatch = pb.DispatchOrderRequest(request_id=request_id(), order_id=order_id, courier_id="cody")
            await shops[first].call("DispatchOrder", dispatch)
            deliver = pb.DeliverOrderRequest(request_id=request_id(), order_id=order_id)
            assert (await couriers[second].call("DeliverOrder", deliver)).order.state in (
                order_pb2.ORDER_STATE_DELIVERED,
                order_pb2.ORDER_STATE_COMPLETED,
            )
        watched = await asyncio.gather(*(_frames(customer, order_id) for customer in customers))
        assert watched[0] == watched[1]


async def test_a_listing_that_grows_meanwhile_shows_what_was_there_once(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    """Pages are turned in one process while orders change and new ones come in the other."""
    async with processes(own_nats_server.url, tmp_path) as (one, other):
        await one.user(SHOP, "shop").put("cup", 1000)
        buyer = one.user("carol")
        for lister, shop_id in ((other.user("carol"), ""), (other.user(SHOP, "shop"), SHOP)):
            before = [(await buyer.place(("cup", 1))).order_id for _ in range(12)]
            listed: list[str] = []
            token = ""
            while len(listed) < len(before):
                request = pb.ListOrdersRequest(page_size=5, page_token=token, shop_id=shop_id)
                page = await lister.call("ListOrders", request)
                listed += [order.order_id for order in page.orders]
                token = page.next_page_token
                await buyer.place(("cup", 1))
                await buyer.cancel(before[0])
            assert listed[: len(before)] == sorted(before, reverse=True)


def _item(sku: str) -> pb.PutItemRequest:
    return pb.PutItemRequest(request_id=request_id(), sku=sku, title=sku, unit_price=gbp(100))


def _decided(event: order_pb2.OrderEvent) -> bool:
    return event.HasField("confirmed") or event.HasField("rejected")


async def _code(call: object) -> grpc.StatusCode:
    try:
        await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return error.code()
    raise AssertionError("the call was not refused")


async def _frames(user: User, order_id: str) -> list[bytes]:
    """Watch an order until it is completed, and give its events' bytes."""
    events: list[bytes] = []
    async with asyncio.timeout(60):
        async for frame in user.watch(order_id):
            for event in frame.events:
                events.append(event.SerializeToString(deterministic=True))
                if event.HasField("completed"):
                    return events
    return events
