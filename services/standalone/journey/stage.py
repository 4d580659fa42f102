"""What the steps of a journey share: the people, what they sell and buy, and what was seen so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tradewind.chat.v1.chat_pb2 import ConversationEvent
from tradewind.order.v1.order_pb2 import Contact, Order, OrderEvent, OrderLine, Stock
from tradewind.order.v1.order_service_pb2 import PlaceOrderResponse
from tradewind.sdk import Client, NotFound
from tradewind.type.v1.money_pb2 import Money

from services.standalone.journey.expect import STEP_SECONDS, Unmet, expect, within
from services.standalone.journey.letters import Inbox
from services.standalone.journey.memory import Memory
from services.standalone.journey.numbers import StatsWatch
from services.standalone.journey.people import Credentials
from services.standalone.screen import Step

CUSTOMER, SHOP, COURIER = "customer", "shop", "courier"
"""The people, by the subjects of their tokens."""
PUT_IN = 3
"""Units in stock at the beginning."""
BOUGHT = 2
"""Units of the order that travels."""
PRICE = Money(currency_code="GBP", minor_units=950)

_LOOK_SECONDS = 0.05


@dataclass
class Stage:
    """One journey under way."""

    memory: Memory
    credentials: Credentials
    customer: Client
    shop: Client
    inbox: Inbox
    stats: StatsWatch
    dkim_public: Path
    domain: str
    """Where the customer gets its mail; each journey has its own, so its numbers are exact."""
    first: Order = field(default_factory=Order)
    """The order that travels, as its PlaceOrder was answered."""
    lost: int = 0
    """Mails of unknown outcome that were made up for."""

    @property
    def sku(self) -> str:
        """The item; each journey has its own, for the same reason."""
        return f"tea-{self.memory.short}"

    @property
    def address(self) -> str:
        """The customer's mail address."""
        return f"ann@{self.domain}"

    async def place(self, intent: str, quantity: int, payment_method: str) -> PlaceOrderResponse:
        """Have the customer place an order; for the same intent the same request, whenever it is placed."""
        return await self.customer.order.place_order(
            SHOP,
            [OrderLine(sku=self.sku, quantity=quantity)],
            payment_method,
            contact=Contact(name="Ann", email=self.address),
            request_id=self.memory.request_id(intent),
        )

    async def order_until(self, order_id: str, last: str) -> list[OrderEvent]:
        """Watch an order from its first event until the one named ``last`` has come. Raises Unmet where versions are not dense."""
        return await within(f"{last} of order {order_id}", self._until(order_id, last))

    async def _until(self, order_id: str, last: str) -> list[OrderEvent]:
        events: list[OrderEvent] = []
        async for event in self.customer.order.watch(order_id):
            expect("the order's next version", len(events) + 1, event.version)
            events.append(event)
            if event.WhichOneof("event") == last:
                return events
        raise Unmet(f"the events of order {order_id}", f"{last} among them", names(events))

    async def told(self, order_id: str, code: str) -> None:
        """Watch the order's conversation until the system message ``code`` is in it."""
        await within(f"system message {code} of order {order_id}", self._told(order_id, code))

    async def _told(self, order_id: str, code: str) -> None:
        async for event in self.conversation(order_id):
            if event.system_message.code == code:
                return

    async def conversation(self, order_id: str) -> AsyncIterator[ConversationEvent]:
        """Watch an order's conversation as the customer, from its first event on; waits for it to come to be."""
        while True:
            try:
                async for event in self.customer.chat.watch(conversation_of(order_id)):
                    yield event
            except NotFound:
                await asyncio.sleep(_LOOK_SECONDS)

    async def stock(self) -> Stock:
        """The stock as it stands."""
        return await self.shop.order.get_stock(self.sku)

    async def stock_becomes(self, available: int, sold: int) -> None:
        """Wait until so many units are available and sold, and none is held. Raises Unmet."""
        loop = asyncio.get_running_loop()
        until = loop.time() + STEP_SECONDS
        expected = {"available": available, "reserved": 0, "sold": sold}
        while True:
            stock = await self.stock()
            seen = {"available": stock.available, "reserved": stock.reserved, "sold": stock.sold}
            if seen == expected:
                return
            if loop.time() > until:
                raise Unmet("the stock", expected, seen)
            await asyncio.sleep(_LOOK_SECONDS)


@dataclass(frozen=True)
class Scene:
    """A step of the journey: its title, and how it is played."""

    title: str
    play: Callable[[Stage, Step], Awaitable[None]]


def conversation_of(order_id: str) -> str:
    """The conversation that Chat opens for an order."""
    return f"order-{order_id}"


def names(events: list[OrderEvent]) -> list[str]:
    """What happened, by name."""
    return [str(event.WhichOneof("event")) for event in events]


def amount(money: Money, times: int = 1) -> str:
    """Write an amount of a currency with two decimals, as this journey's."""
    units = money.minor_units * times
    return f"{units // 100}.{units % 100:02} {money.currency_code}"
