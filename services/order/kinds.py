"""The three kinds of aggregates, as the ledger is told of them, and how each is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.ledger.decider import Kind
from services.ledger.ids import AggregateId
from services.order import projections
from services.order.domain import deciding, evolving, item, saga, stock
from services.order.domain.commands import OrderCommand
from services.order.domain.events import OrderEvent
from services.order.domain.order import Order
from services.order.wire import catalogue, orders

MAIN: Final = "main"
"""The location meant where none is named."""


def stock_timers(state: stock.Stock) -> Mapping[str, int]:
    """Name a stock's timers: when its earliest reservation runs out."""
    due_us = stock.next_expiry(state)
    return {} if due_us is None else {"expiry": due_us}


ORDER: Final = Kind[Order, OrderCommand, OrderEvent](
    name="order",
    initial=Order,
    decide=deciding.decide,
    evolve=evolving.evolve,
    encode=orders.encode,
    decode=orders.decode,
    state_type=Order,
    rows=projections.rows,
    timers=saga.timers,
)
ITEM: Final = Kind[item.Item, item.PutItem, item.ItemPut](
    name="item",
    initial=item.Item,
    decide=item.decide,
    evolve=item.evolve,
    encode=catalogue.encode_item,
    decode=catalogue.decode_item,
    state_type=item.Item,
)
STOCK: Final = Kind[stock.Stock, stock.StockCommand, stock.StockEvent](
    name="stock",
    initial=stock.Stock,
    decide=stock.decide,
    evolve=stock.evolve,
    encode=catalogue.encode_stock,
    decode=catalogue.decode_stock,
    state_type=stock.Stock,
    timers=stock_timers,
)
KINDS: Final[tuple[Kind[Any, Any, Any], ...]] = (ORDER, ITEM, STOCK)


def order_id(tenant: str, order: str) -> AggregateId:
    """Name an order."""
    return AggregateId(tenant, ORDER.name, order)


def item_id(tenant: str, shop_id: str, sku: str) -> AggregateId:
    """Name a shop's item."""
    return AggregateId(tenant, ITEM.name, _joined(shop_id, sku))


def stock_id(tenant: str, shop_id: str, sku: str, location: str) -> AggregateId:
    """Name a stock."""
    return AggregateId(tenant, STOCK.name, _joined(shop_id, sku, location))


def _joined(*parts: str) -> str:
    # Parts may hold any character, so the length of each goes before it: no two lists of parts make one name.
    return "".join(f"{len(part)}.{part}" for part in parts)
