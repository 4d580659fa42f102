"""Order's events as mails: which event is told by which template, with which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tradewind.order.v1 import order_pb2

from services.mail.money import written

TOLD: Final[Mapping[str, str]] = {
    "confirmed": "order-confirmation",
    "completed": "order-receipt",
    "rejected": "order-rejected",
    "cancelled": "order-cancelled",
}
"""Event to template."""
TRACKED: Final = frozenset({"order-receipt"})
"""Whose opening is of interest."""
CAUSES: Final[Mapping[str, str]] = {
    "OUT_OF_STOCK": "there is not enough in stock",
    "UNKNOWN_ITEM": "an item is not sold any more",
    "PAYMENT_DECLINED": "the payment was declined",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A mail that an event of an order asks for."""

    template: str
    address: str
    name: str
    variables: Mapping[str, Any]
    tracked: bool


def told(event: order_pb2.OrderEvent) -> Told | None:
    """Give the mail that an event asks for; None where it asks for none, or there is nobody to write to."""
    kind = event.WhichOneof("event") or ""
    template = TOLD.get(kind)
    if template is None:
        return None
    news = getattr(event, kind)
    contact: order_pb2.Contact = news.contact
    if not contact.email:
        return None
    reason = getattr(news, "reason", "")
    variables = {**_words(news.order), "name": contact.name, "cause": CAUSES.get(reason, reason)}
    return Told(template, contact.email, contact.name, variables, template in TRACKED)


def _words(order: order_pb2.Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "total": written(order.total.minor_units, order.total.currency_code),
        "lines": [
            {
                "title": line.title or line.sku,
                "quantity": line.quantity,
                "unit_price": written(line.unit_price.minor_units, line.unit_price.currency_code),
                "amount": written(line.unit_price.minor_units * line.quantity, line.unit_price.currency_code),
            }
            for line in order.lines
        ],
    }
