"""An item of a shop's catalogue: what it is called and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.order.domain.money import Money
from services.order.domain.refusal import Refused


@dataclass(frozen=True, slots=True)
class Item:
    """The entry as it stands; ``unit_price`` is None where there never was one."""

    shop_id: str = ""
    sku: str = ""
    title: str = ""
    unit_price: Money | None = None


@dataclass(frozen=True, slots=True)
class PutItem:
    """Make the entry this."""

    at_us: int
    actor_id: str
    shop_id: str
    sku: str
    title: str
    unit_price: Money


@dataclass(frozen=True, slots=True)
class ItemPut:
    """The entry is now this."""

    at_us: int
    actor_id: str
    shop_id: str
    sku: str
    title: str
    unit_price: Money


def decide(state: Item, command: PutItem) -> Sequence[ItemPut]:
    """Say what a command changes; nothing where the entry is so already. Raises Refused for a price below zero or without a currency."""
    price = command.unit_price
    if price.minor_units < 0:
        raise Refused("INVALID_FIELD", "a price is not negative", field="unit_price.minor_units")
    if not price.currency_code:
        raise Refused("INVALID_FIELD", "a price names its currency", field="unit_price.currency_code")
    if (state.title, state.unit_price) == (command.title, price):
        return []
    return [ItemPut(command.at_us, command.actor_id, command.shop_id, command.sku, command.title, price)]


def evolve(state: Item, event: ItemPut) -> Item:
    """Apply an event."""
    del state
    return Item(event.shop_id, event.sku, event.title, event.unit_price)
