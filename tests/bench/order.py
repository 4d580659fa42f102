"""Order: whole sagas a second, from PlaceOrder to stock sold and payment authorised, and on to captured."""

import asyncio
import time

import grpc
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb
from tradewind.order.v1 import order_service_pb2_grpc as rpc

from tests.bench.load import request_id
from tests.bench.report import Result
from tests.bench.stack import Stack

SKUS = 50
ORDERS = 1500
IN_FLIGHT = 64
ROUNDS = 3
MARK = 300


class Shop:
    """A running Order with a gateway, a shop's full shelves and a customer."""

    def __init__(self, stack: Stack, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.stub = rpc.OrderServiceStub(self.channel)
        self.shop = (("authorization", f"Bearer {stack.token('shop', 'shop')}"),)
        self.customer = (("authorization", f"Bearer {stack.token('ann', 'customer')}"),)

    async def stock_up(self) -> None:
        """Puts every item up for sale."""
        for number in range(SKUS):
            put = pb.PutItemRequest(request_id=request_id(), sku=f"sku-{number}", title="A cup")
            put.unit_price.currency_code, put.unit_price.minor_units = "GBP", 250
            await self.stub.PutItem(put, metadata=self.shop)
            adjust = pb.AdjustStockRequest(request_id=request_id(), sku=f"sku-{number}", delta=1_000_000)
            await self.stub.AdjustStock(adjust, metadata=self.shop)

    async def place(self, number: int) -> str:
        """Places an order of two lines."""
        wanted = pb.PlaceOrderRequest(request_id=request_id(), shop_id="shop", payment_method="pm_ok")
        for line in (number % SKUS, (number * 7 + 1) % SKUS):
            wanted.lines.add(sku=f"sku-{line}", quantity=1)
        placed = await self.stub.PlaceOrder(wanted, metadata=self.customer)
        return str(placed.order.order_id)

    async def until(self, orders: list[str], state: int) -> None:
        """Waits until all orders are in a state or beyond it, looking at pages of the list."""
        while not await self._all(set(orders), state):
            await asyncio.sleep(0.05)

    async def _all(self, orders: set[str], state: int) -> bool:
        page = pb.ListOrdersRequest(page_size=200)
        while orders:
            listed = await self.stub.ListOrders(page, metadata=self.customer)
            for order in listed.orders:
                if order.order_id in orders:
                    if order.state < state:
                        return False
                    orders.discard(order.order_id)
            page.page_token = listed.next_page_token
        return True

    async def fulfil(self, order: str) -> None:
        """Accepts, dispatches and delivers."""
        await self.stub.AcceptOrder(
            pb.AcceptOrderRequest(request_id=request_id(), order_id=order, courier_id="cleo"), metadata=self.shop
        )
        await self.stub.DispatchOrder(
            pb.DispatchOrderRequest(request_id=request_id(), order_id=order), metadata=self.shop
        )
        await self.stub.DeliverOrder(
            pb.DeliverOrderRequest(request_id=request_id(), order_id=order), metadata=self.shop
        )


async def _spread(work: list[object], in_flight: int) -> list[object]:
    """Awaits coroutine functions with at most `in_flight` under way."""
    room = asyncio.Semaphore(in_flight)

    async def one(make: object) -> object:
        async with room:
            assert callable(make)
            return await make()

    return list(await asyncio.gather(*(one(make) for make in work)))


async def measure(stack: Stack) -> list[Result]:
    """Sagas a second: the median of the rounds; CPU of Order's process and of the gateway's."""
    gateway = await stack.serve("payments", "services.payments_simulator")
    address = await stack.serve("order", "services.order", {"TRADEWIND_PAYMENT_GATEWAY": gateway})
    shop = Shop(stack, address)
    await shop.stock_up()
    confirmed: list[tuple[float, float, float]] = []
    completed: list[float] = []
    for turn in range(ROUNDS + 1):
        cpu, gateway_cpu, started = stack.cpu("order"), stack.cpu("payments"), time.perf_counter()
        makes: list[object] = [lambda n=n: shop.place(n) for n in range(ORDERS if turn else 200)]
        orders = [str(order) for order in await _spread(makes, IN_FLIGHT)]
        await shop.until(orders, order_pb2.ORDER_STATE_CONFIRMED)
        seconds = time.perf_counter() - started
        used = stack.cpu("order") - cpu, stack.cpu("payments") - gateway_cpu
        started = time.perf_counter()
        some = orders[: len(orders) // 3]
        await _spread([lambda order=order: shop.fulfil(order) for order in some], IN_FLIGHT)
        await shop.until(some, order_pb2.ORDER_STATE_COMPLETED)
        if turn:
            confirmed.append((len(orders) / seconds, used[0] / len(orders) * 1e6, used[1] / len(orders) * 1e6))
            completed.append(len(some) / (time.perf_counter() - started))
    await shop.channel.close()
    rate, cpu_us, gateway_us = sorted(confirmed)[len(confirmed) // 2]
    return [
        Result(
            "order sagas: place, reserve, authorise, confirm", rate, "/s", f">= {MARK}/s", rate >= MARK, cpu_us=cpu_us,
            rounds=ROUNDS, spread=(min(confirmed)[0], max(confirmed)[0]),
            more={
                "gateway CPU us an order": gateway_us,
                "accept, dispatch, deliver, capture, complete: orders/s": sorted(completed)[len(completed) // 2],
            },
        )
    ]  # fmt: skip
