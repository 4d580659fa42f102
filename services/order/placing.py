"""Placing an order: from the request to the command, with the shop's own titles and prices where the buyer may not name them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as pb

from services.ledger.decider import Receipt, Request
from services.ledger.ids import AggregateId, derive_id, fingerprint
from services.ledger.ledger import Ledger
from services.order import kinds
from services.order.access import Actor
from services.order.domain import evolving
from services.order.domain.commands import PlaceOrder
from services.order.domain.item import Item
from services.order.domain.money import Line
from services.order.domain.order import Order
from services.order.domain.refusal import Refused
from services.order.wire import orders, values
from services.runtime.call import Call

_AT_ONCE = 64
_FEW = 4
_LONGEST_S = 10.0


def now_us() -> int:
    """Give the time in microseconds since the Unix epoch."""
    return time.time_ns() // 1000


class Placing:
    """Takes orders."""

    def __init__(self, ledger: Ledger) -> None:
        """Write into ``ledger``."""
        self._ledger = ledger

    async def place(self, request: pb.PlaceOrderRequest, actor: Actor, call: Call) -> tuple[order_pb2.Order, bool]:
        """Place an order; give it as it was when it was placed, and whether that was before. Raises Refused and what the ledger does."""
        aggregate = _aggregate(request, actor)
        try:
            command = await self._command(request, actor, aggregate.id)
        except Refused:
            # A repeated request is answered as it was the first time, whatever the catalogue says by now.
            view = await self._ledger.read(aggregate)
            if not view.version:
                raise
            command = _repeated(actor, aggregate.id)
        named = Request(
            request.request_id, fingerprint(request.SerializeToString(deterministic=True)), call.traceparent
        )
        receipt = await self._ledger.execute(aggregate, command, named, timeout=min(call.remaining(), _LONGEST_S))
        return _as_placed(receipt), receipt.replayed

    async def _command(self, request: pb.PlaceOrderRequest, actor: Actor, order_id: str) -> PlaceOrder:
        names_prices = actor.is_service or (actor.is_shop and actor.user_id == request.shop_id)
        customer_id = request.customer_id or actor.user_id
        if customer_id != actor.user_id and not names_prices:
            raise Refused("FORBIDDEN", "only the shop and services order for others", field="customer_id")
        return PlaceOrder(
            at_us=now_us(),
            actor_id=actor.user_id,
            order_id=order_id,
            customer_id=customer_id,
            shop_id=request.shop_id,
            location=request.location or kinds.MAIN,
            lines=await self._lines(request, actor.tenant, names_prices),
            payment_method=request.payment_method,
            contact=values.to_contact(request.contact) if request.HasField("contact") else None,
            attributes=dict(request.attributes),
        )

    async def _lines(self, request: pb.PlaceOrderRequest, tenant: str, names_prices: bool) -> tuple[Line, ...]:
        unpriced: dict[str, int] = {}
        for index, line in enumerate(request.lines):
            priced = line.HasField("unit_price")
            if not names_prices and (priced or line.title):
                field = f"lines[{index}].{'unit_price' if priced else 'title'}"
                raise Refused("FORBIDDEN", "only the shop and services name prices and titles", field=field)
            if not priced:
                unpriced.setdefault(line.sku, index)
        items = await self._items(tenant, request.shop_id, unpriced)
        return tuple(_line(line, items.get(line.sku)) for line in request.lines)

    async def _items(self, tenant: str, shop_id: str, wanted: dict[str, int]) -> dict[str, Item]:
        items: dict[str, Item] = {}
        skus = list(wanted)
        for start in range(0, len(skus), _AT_ONCE):
            part = skus[start : start + _AT_ONCE]
            reads = [self._ledger.read(kinds.item_id(tenant, shop_id, sku), fresh=False) for sku in part]
            # Items are mostly in memory, where a task for each costs more than the read; many at once may not be.
            views = [await read for read in reads] if len(reads) <= _FEW else await asyncio.gather(*reads)
            items.update((sku, view.state) for sku, view in zip(part, views, strict=True))
        for sku in skus:
            if items[sku].unit_price is None:  # another process may just have put it in
                items[sku] = (await self._ledger.read(kinds.item_id(tenant, shop_id, sku))).state
            if items[sku].unit_price is None:
                raise Refused(
                    "UNKNOWN_ITEM",
                    "the shop has no such item",
                    field=f"lines[{wanted[sku]}].sku",
                    metadata={"sku": sku},
                    resource=("item", sku),
                )
        return items


def _aggregate(request: pb.PlaceOrderRequest, actor: Actor) -> AggregateId:
    try:
        order_id = derive_id(request.request_id, actor.tenant, actor.user_id)
    except ValueError:
        raise Refused("INVALID_FIELD", "a request id is a UUIDv7", field="request_id") from None
    return kinds.order_id(actor.tenant, order_id)


def _repeated(actor: Actor, order_id: str) -> PlaceOrder:
    """Make a command for an order that exists: the ledger answers its request id, so it is never decided."""
    return PlaceOrder(now_us(), actor.user_id, order_id, "", "", "", (), "", None, {})


def _line(line: order_pb2.OrderLine, item: Item | None) -> Line:
    if line.HasField("unit_price"):
        return Line(line.sku, line.quantity, values.to_money(line.unit_price), line.title)
    if item is None or item.unit_price is None:  # checked before; here for the reader and the type checker
        raise Refused("UNKNOWN_ITEM", "the shop has no such item", metadata={"sku": line.sku})
    return Line(line.sku, line.quantity, item.unit_price, line.title or item.title)


def _as_placed(receipt: Receipt) -> order_pb2.Order:
    """Give the order as its first events made it: the same whenever it is asked."""
    return orders.order(_folded(receipt.payloads), receipt.last_version)


def _folded(payloads: Iterable[bytes]) -> Order:
    state = Order()
    for payload in payloads:
        state = evolving.evolve(state, orders.decode(payload))
    return state
