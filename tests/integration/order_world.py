"""A whole Order service and payment gateway inside a test: real nats-server, real stores, real gRPC, real tokens."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from pydantic import SecretStr
from tradewind.order.v1 import order_pb2, order_service_pb2_grpc
from tradewind.order.v1 import order_service_pb2 as pb
from tradewind.payment.v1 import payment_gateway_service_pb2 as pay
from tradewind.payment.v1 import payment_gateway_service_pb2_grpc
from tradewind.type.v1 import money_pb2

from services.host import host
from services.order.config import OrderSettings
from services.order.gateway import Gateway
from services.order.kinds import KINDS
from services.order.policy import POLICY
from services.order.service import OrderService
from services.order.stockroom import Stockroom
from services.order.worker import Saga
from services.payments_simulator import policy as payments_policy
from services.payments_simulator.book import Book
from services.payments_simulator.config import PaymentsSettings
from services.payments_simulator.service import PaymentGatewayService
from services.runtime.channel import service_channel
from services.runtime.config import RuntimeSettings
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator, Signer, make_key_pair

TENANT = "acme"
SHOP = "shop-1"


def request_id() -> str:
    """Make a UUIDv7 (RFC 9562) of now."""
    number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))


def gbp(minor_units: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code="GBP", minor_units=minor_units)


def reason_in(status: status_pb2.Status) -> str:
    """Give the reason that a status carries."""
    info = error_details_pb2.ErrorInfo()
    return next((str(info.reason) for detail in status.details if detail.Unpack(info)), "")


async def refused(call: Awaitable[Any]) -> str:
    """Await a call that must be refused, and give its reason."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        return reason_in(status_pb2.Status.FromString(trailers["grpc-status-details-bin"]))
    raise AssertionError("the call was not refused")


def keys_in(folder: Path) -> dict[str, Any]:
    """Settings with one key pair for all of a test's services."""
    private, public = folder / "key.pem", folder / "key.pub"
    if not private.exists():
        make_key_pair(private, public)
    return {"auth_public_key_files": (public,), "service_key_file": private}


def new_channel(port: int) -> grpc.aio.Channel:
    """Open a connection that is shared with nobody."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


class User:
    """Somebody with a token, on a connection of its own."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.metadata = (("authorization", f"Bearer {token}"),)
        self._stub = order_service_pb2_grpc.OrderServiceStub(channel)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call an rpc by name."""
        return getattr(self._stub, method)(*args, metadata=self.metadata, **options)

    async def put(self, sku: str, units: int = 0, price: int = 250, title: str = "") -> None:
        """Put an item into the catalogue and units into stock."""
        item = pb.PutItemRequest(request_id=request_id(), sku=sku, title=title or sku.title(), unit_price=gbp(price))
        await self.call("PutItem", item)
        if units:
            await self.call("AdjustStock", pb.AdjustStockRequest(request_id=request_id(), sku=sku, delta=units))

    async def stock(self, sku: str, shop_id: str = SHOP) -> tuple[int, int, int]:
        """Give how many units are available, reserved and sold."""
        stock = (await self.call("GetStock", pb.GetStockRequest(shop_id=shop_id, sku=sku))).stock
        return stock.available, stock.reserved, stock.sold

    async def place(self, *lines: tuple[str, int], method: str = "pm_ok") -> order_pb2.Order:
        """Place an order."""
        placed: order_pb2.Order = (await self.call("PlaceOrder", wanted(*lines, method=method))).order
        return placed

    async def get(self, order_id: str) -> order_pb2.Order:
        order: order_pb2.Order = (await self.call("GetOrder", pb.GetOrderRequest(order_id=order_id))).order
        return order

    async def cancel(self, order_id: str, reason: str = "changed my mind") -> order_pb2.Order:
        request = pb.CancelOrderRequest(request_id=request_id(), order_id=order_id, reason=reason)
        order: order_pb2.Order = (await self.call("CancelOrder", request)).order
        return order

    def watch(self, order_id: str, after: int = 0) -> Any:
        return self.call("WatchOrder", pb.WatchOrderRequest(order_id=order_id, after_version=after))

    async def story(self, order_id: str, seconds: float = 60.0) -> list[str]:
        """Watch an order to its end, and give the names of its events."""
        events: list[order_pb2.OrderEvent] = []
        async with asyncio.timeout(seconds):
            async for frame in self.watch(order_id):
                events.extend(frame.events)
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        return [str(event.WhichOneof("event")) for event in events]

    async def until(
        self, order_id: str, reached: Callable[[order_pb2.OrderEvent], bool], seconds: float = 30.0
    ) -> order_pb2.Order:
        """Watch an order until an event came, and give the order as it then stands."""
        async with asyncio.timeout(seconds):
            async for frame in self.watch(order_id):
                if any(reached(event) for event in frame.events):
                    return await self.get(order_id)
        raise AssertionError("the order ended before that event")

    async def confirmed(self, order_id: str, seconds: float = 60.0) -> order_pb2.Order:
        return await self.until(order_id, lambda event: event.HasField("confirmed"), seconds)


def wanted(*lines: tuple[str, int], method: str = "pm_ok", **fields: Any) -> pb.PlaceOrderRequest:
    """A request for so many units of some items."""
    fields.setdefault("request_id", request_id())
    return pb.PlaceOrderRequest(
        shop_id=fields.pop("shop_id", SHOP),
        lines=[order_pb2.OrderLine(sku=sku, quantity=quantity) for sku, quantity in lines],
        payment_method=method,
        contact=order_pb2.Contact(name="Carol", email="carol@example.org"),
        **fields,
    )


class GatewayWorld:
    """The simulator, and a service's view of it."""

    def __init__(self, server: Server, channel: grpc.aio.Channel, signer: Signer) -> None:
        self.server = server
        self.address = f"127.0.0.1:{server.port}"
        self._metadata = (("authorization", f"Bearer {signer.mint('order', TENANT, ['service'])}"),)
        self._stub = payment_gateway_service_pb2_grpc.PaymentGatewayServiceStub(channel)

    def call(self, method: str, request: Any, **options: Any) -> Any:
        """Call an rpc by name."""
        return getattr(self._stub, method)(request, metadata=self._metadata, **options)

    async def look_up(self, key: str) -> pay.Payment:
        found: pay.Payment = (await self.call("LookUpPayment", pay.LookUpPaymentRequest(payment_key=key))).payment
        return found

    async def state_of(self, order_id: str) -> str:
        """Give the state of an order's payment, by name."""
        return str(pay.PaymentState.Name((await self.look_up(f"order-{order_id}")).state))


@asynccontextmanager
async def gateway_world(folder: Path, port: int = 0) -> AsyncIterator[GatewayWorld]:
    """Run the simulator in this process; started again on the same folder it knows what it knew."""
    settings = PaymentsSettings(
        listen=f"127.0.0.1:{port}",
        rate_limit=0,
        tenant_rate_limit=0,
        reflection=False,
        drain_grace=0.2,
        **keys_in(folder),
    )
    telemetry = Telemetry.start("payments", settings)
    server = Server(settings, telemetry, Authenticator.from_settings(settings), payments_policy.POLICY)
    book = Book.open(folder / "payments.db")
    handlers = PaymentGatewayService(book)
    server.add(pay.DESCRIPTOR.services_by_name["PaymentGatewayService"], handlers)
    await server.start()
    channel = new_channel(server.port)
    try:
        yield GatewayWorld(server, channel, _signer(settings))
    finally:
        await channel.close()
        await server.drain()
        await handlers.close()
        await book.close()


class OrderWorld:
    """The service, and users of it."""

    def __init__(self, server: Server, ledger: Any, saga: Saga, signer: Signer) -> None:
        self.server, self.ledger, self.saga = server, ledger, saga
        self.signer = signer
        self._channels: list[grpc.aio.Channel] = []
        self.shop = self.user(SHOP, "shop")
        self.customer = self.user("carol")

    def user(self, user_id: str, *roles: str, tenant: str = TENANT) -> User:
        """Let somebody in."""
        channel = new_channel(self.server.port)
        self._channels.append(channel)
        return User(channel, self.signer.mint(user_id, tenant, roles or ("customer",)))

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


def order_settings(nats_url: str, folder: Path, gateway: str, **options: Any) -> OrderSettings:
    """Settings of an Order service of one test."""
    return OrderSettings(
        listen="127.0.0.1:0",
        nats_urls=(SecretStr(nats_url),),
        store_file=folder / "order.db",
        payment_gateway=gateway,
        log_partitions=2,
        rate_limit=0,
        tenant_rate_limit=0,
        drain_grace=5.0,
        reflection=False,
        **keys_in(folder),
        **options,
    )


@asynccontextmanager
async def order_world(nats_url: str, folder: Path, gateway: str, **options: Any) -> AsyncIterator[OrderWorld]:
    """Run Order on a nats-server and a folder; started again on both it goes on where it was."""
    settings = order_settings(nats_url, folder, gateway, **options)
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(service_channel(settings, gateway, "order", retries=False))
        here = await stack.enter_async_context(host("order", settings, KINDS, POLICY))
        stockroom = Stockroom(here.ledger, settings.reservation_lives)
        saga = Saga(here.ledger, stockroom, Gateway(channel), here.telemetry)
        saga.start()
        here.server.add(pb.DESCRIPTOR.services_by_name["OrderService"], OrderService(here.ledger, settings))
        await here.server.start()
        world = OrderWorld(here.server, here.ledger, saga, _signer(settings))
        try:
            yield world
        finally:
            await world.close()
            await here.server.drain()


def names(events: Sequence[order_pb2.OrderEvent]) -> list[str]:
    """Names of events."""
    return [str(event.WhichOneof("event")) for event in events]


def _signer(settings: RuntimeSettings) -> Signer:
    assert settings.service_key_file is not None
    return Signer.from_file(settings.service_key_file)
