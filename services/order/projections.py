"""Read models: the orders of a customer, and those of a shop. Each row is the order as it stands, so a page is one read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.order.domain.events import OrderEvent
from services.order.domain.order import Order
from services.order.wire import orders

TABLE: Final = "orders"


def of_customer(tenant: str, customer_id: str) -> str:
    """Name the partition of a customer's orders."""
    return f"{tenant}/customer/{customer_id}"


def of_shop(tenant: str, shop_id: str) -> str:
    """Name the partition of a shop's orders."""
    return f"{tenant}/shop/{shop_id}"


def rows(aggregate: AggregateId, state: Order, events: Sequence[tuple[int, OrderEvent]]) -> Iterator[Row]:
    """Give the rows to write with an order's events."""
    value = orders.order(state, events[-1][0]).SerializeToString()
    yield Row(TABLE, of_customer(aggregate.tenant, state.customer_id), aggregate.id, value)
    yield Row(TABLE, of_shop(aggregate.tenant, state.shop_id), aggregate.id, value)
