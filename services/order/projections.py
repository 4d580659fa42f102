"""Read models: the orders of a customer, and those of a shop. Each row is the order as it stands, so a page is one read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.order.domain.events import OrderEvent
from services.order.domain.order import Order
from services.order.wire import orders

BY_CUSTOMER: Final = "orders_by_customer"
BY_SHOP: Final = "orders_by_shop"

SLICED: Final = {BY_CUSTOMER: 4, BY_SHOP: 7}
"""By how many characters of an order's id a store may cut a partition: the id begins with its time, so that is a slice for every
50 days of a customer's orders, and for every 17.5 minutes of a shop's."""


def of_customer(tenant: str, customer_id: str) -> str:
    """Name the partition of a customer's orders."""
    return f"{tenant}/{customer_id}"


def of_shop(tenant: str, shop_id: str) -> str:
    """Name the partition of a shop's orders."""
    return f"{tenant}/{shop_id}"


def rows(aggregate: AggregateId, state: Order, events: Sequence[tuple[int, OrderEvent]]) -> Iterator[Row]:
    """Give the rows to write with an order's events."""
    value = orders.order(state, events[-1][0]).SerializeToString()
    yield Row(BY_CUSTOMER, of_customer(aggregate.tenant, state.customer_id), aggregate.id, value)
    yield Row(BY_SHOP, of_shop(aggregate.tenant, state.shop_id), aggregate.id, value)
