"""Amounts in minor units of one currency; whole numbers only, and never beyond what the contract's int64 can say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.order.domain.refusal import Refused

LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Money:
    """So many minor units (pence, cents) of the currency of this ISO 4217 code."""

    currency_code: str
    minor_units: int


NO_MONEY = Money("", 0)
"""What an order that does not exist costs."""


@dataclass(frozen=True, slots=True)
class Line:
    """So many units of an item at a price each. Several lines of one order may name the same item."""

    sku: str
    quantity: int
    unit_price: Money
    title: str = ""


def total_of(lines: Iterable[Line]) -> Money:
    """Add up lines.

    Raises Refused: CURRENCY_MISMATCH for two currencies, INVALID_FIELD unless 0 < total < 2^63 and no price is below zero.
    """
    currency = ""
    total = 0
    for index, line in enumerate(lines):
        price = line.unit_price
        if not currency:
            currency = price.currency_code
        if price.currency_code != currency or not currency:
            raise Refused(
                "CURRENCY_MISMATCH", "amounts of one order must be of one currency", field=f"lines[{index}].unit_price"
            )
        if price.minor_units < 0:
            raise Refused("INVALID_FIELD", "a price is not negative", field=f"lines[{index}].unit_price")
        total += price.minor_units * line.quantity
    if not 0 < total <= LARGEST:
        raise Refused("INVALID_FIELD", "the total must be more than zero and fit into 64 bits", field="lines")
    return Money(currency, total)
