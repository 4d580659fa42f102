"""People buy: orders with every kind of payment, cancellations, deliveries, and a shop that adds to and takes from its stock."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb
from tradewind.order.v1 import order_service_pb2_grpc as rpc

from tests.drills.load.calling import Answer, Intent, Pace, new_request_id, settle
from tests.drills.load.chat import bearer
from tests.drills.records import Recorder, digest
from tests.drills.stage import Stage

SHOP = "shop"
SKUS = ("cup", "pot", "lamp")
PLAIN = ("pm_ok",) * 6 + (
    "pm_declined",
    "pm_unavailable_then_ok",
    "pm_timeout_after_apply",
    "pm_unavailable_after_apply",
)
"""Payment methods of an ordinary day; how each behaves is in docs/payments.md."""
STORMY = (
    "pm_ok", "pm_timeout_after_apply:2", "pm_unavailable_after_apply:2", "pm_timeout_before_apply", "pm_internal_then_ok",
    "pm_late:1500", "pm_capture_timeout_after_apply", "pm_capture_unavailable_then_ok", "pm_void_timeout_after_apply",
    "pm_void_unavailable_then_ok", "pm_declined",
)  # fmt: skip
"""Payment methods of a gateway in a storm."""


class Buying:
    """One customer and what its shop does for it.

    Args:
        methods: payment methods to choose from.
    """

    def __init__(
        self, stage: Stage, channel: grpc.aio.Channel, recorder: Recorder, pace: Pace, seed: str, methods: tuple[str, ...]
    ) -> None:  # fmt: skip
        self._recorder, self._pace, self._seed, self._methods = recorder, pace, seed, methods
        self._rng = random.Random(seed)
        self._stub = rpc.OrderServiceStub(channel)
        self._shop = bearer(stage, SHOP, "shop")
        self._customer = bearer(stage, f"buyer-{seed.rpartition('-')[2]}", "customer")

    async def stock_up(self, units: int) -> None:
        """Puts every item up for sale. Before any fault; the adjustments are recorded."""
        for sku in SKUS:
            put = pb.PutItemRequest(request_id=new_request_id(self._rng), sku=sku, title=sku)
            put.unit_price.currency_code, put.unit_price.minor_units = "GBP", 250
            await self._stub.PutItem(put, metadata=self._shop, timeout=20)
            await self._adjust(sku, units)

    async def run(self) -> None:
        """Buys, one order after the other, until the end."""
        while not self._pace.ending.is_set():
            if self._rng.random() < 0.15:
                await self._adjust(self._rng.choice(SKUS), self._rng.choice((5, 3, 1, -1, -2)))
            else:
                await self._order()
            await self._pace.pause(self._rng)

    async def _order(self) -> None:
        rng = self._rng
        request = pb.PlaceOrderRequest(
            request_id=new_request_id(rng), shop_id=SHOP, payment_method=rng.choice(self._methods)
        )
        for sku in rng.sample(SKUS, rng.randrange(1, 3)):
            request.lines.add(sku=sku, quantity=rng.randrange(1, 4))
        order = await self._settle("order.place", "", request, self._stub.PlaceOrder, self._customer)
        if order is None:
            return
        if rng.random() < 0.3:
            cancel = pb.CancelOrderRequest(request_id=new_request_id(rng), order_id=order, reason="drill")
            await self._settle("order.cancel", order, cancel, self._stub.CancelOrder, self._customer)
        elif rng.random() < 0.5:
            await self._deliver(order)

    async def _deliver(self, order: str) -> None:
        accept = pb.AcceptOrderRequest(order_id=order, courier_id="cleo")
        for kind, request, call in (
            ("order.accept", accept, self._stub.AcceptOrder),
            ("order.dispatch", pb.DispatchOrderRequest(order_id=order), self._stub.DispatchOrder),
            ("order.deliver", pb.DeliverOrderRequest(order_id=order), self._stub.DeliverOrder),
        ):
            if kind == "order.accept" and not await self._confirmed(order):
                return
            request.request_id = new_request_id(self._rng)
            if await self._settle(kind, order, request, call, self._shop) is None:
                return

    async def _confirmed(self, order: str) -> bool:
        """Waits a little for an order to be confirmed; False where it is not, or no more."""
        for _ in range(20):
            try:
                found = await self._stub.GetOrder(
                    pb.GetOrderRequest(order_id=order), metadata=self._shop, timeout=self._pace.deadline
                )
            except grpc.aio.AioRpcError:
                return False
            if found.order.state >= order_pb2.ORDER_STATE_CONFIRMED:
                return bool(found.order.state == order_pb2.ORDER_STATE_CONFIRMED)
            await self._pace.pause(self._rng)
        return False

    async def _adjust(self, sku: str, delta: int) -> None:
        request = pb.AdjustStockRequest(request_id=new_request_id(self._rng), sku=sku, delta=delta)
        intent = Intent(
            "stock.adjust", self._seed, sku, request.request_id, digest(f"{sku} {delta}"), {"delta": delta}
        )  # fmt: skip

        async def attempt(deadline: float) -> Answer:
            await self._stub.AdjustStock(request, metadata=self._shop, timeout=deadline)
            return Answer()

        await settle(self._recorder, self._pace, self._rng, intent, attempt)

    async def _settle(
        self, kind: str, target: str, request: "_Request", call: "_Rpc", metadata: tuple[tuple[str, str], ...]
    ) -> str | None:
        """Settles one call about one order; the order's id, None where it was not acknowledged."""
        content = digest(request.SerializeToString(deterministic=True))
        intent = Intent(kind, self._seed, target, request.request_id, content)

        async def attempt(deadline: float) -> Answer:
            answer = await call(request, metadata=metadata, timeout=deadline)
            return Answer(target=str(answer.order.order_id))

        answer = await settle(self._recorder, self._pace, self._rng, intent, attempt)
        return answer.target if answer else None


_Request = (
    pb.PlaceOrderRequest | pb.CancelOrderRequest | pb.AcceptOrderRequest | pb.DispatchOrderRequest | pb.DeliverOrderRequest
)  # fmt: skip
_Rpc = Callable[..., Awaitable[Any]]
