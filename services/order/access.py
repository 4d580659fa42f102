"""Whose orders, items and stock a caller may see and change. What one may not see does not exist: NOT_FOUND."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.order.domain.order import Order
from services.order.domain.refusal import Refused
from services.runtime.call import Caller

_OVERSEERS: Final = frozenset({"admin", "service"})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the caller, or the end user a service acts for."""

    tenant: str
    user_id: str
    is_shop: bool
    is_courier: bool
    is_service: bool
    oversees: bool


def actor_of(caller: Caller) -> Actor:
    """Give who acts."""
    roles = caller.roles
    return Actor(
        tenant=caller.tenant,
        user_id=caller.on_behalf_of or caller.subject,
        is_shop="shop" in roles,
        is_courier="courier" in roles,
        is_service="service" in roles,
        oversees=not _OVERSEERS.isdisjoint(roles),
    )


def is_shop_of(actor: Actor, order: Order) -> bool:
    """Tell whether the actor may act as the order's shop."""
    return actor.oversees or (actor.is_shop and actor.user_id == order.shop_id)


def is_customer_of(actor: Actor, order: Order) -> bool:
    """Tell whether the actor may act as the order's customer."""
    return actor.oversees or actor.user_id == order.customer_id


def is_courier_of(actor: Actor, order: Order) -> bool:
    """Tell whether the actor may act as the order's courier."""
    return actor.oversees or (actor.is_courier and bool(order.courier_id) and actor.user_id == order.courier_id)


def may_see(actor: Actor, order: Order) -> bool:
    """Tell whether the actor may know of an order."""
    return order.exists and (is_customer_of(actor, order) or is_shop_of(actor, order) or is_courier_of(actor, order))


def visible(actor: Actor, order: Order, order_id: str) -> Order:
    """Give the order back where the actor may see it. Raises Refused (NOT_FOUND)."""
    if not may_see(actor, order):
        raise Refused("NOT_FOUND", "there is no such order", resource=("order", order_id))
    return order


def require(allowed: bool) -> None:
    """Raise Refused (FORBIDDEN) unless allowed: the actor sees the order, but this step is another's."""
    if not allowed:
        raise Refused("FORBIDDEN", "this step is not the caller's to take")


def shop_to_change(actor: Actor, named: str) -> str:
    """Give the shop whose catalogue or stock is to be changed. Raises Refused (FORBIDDEN, INVALID_FIELD)."""
    if actor.oversees:
        if not named:
            raise Refused("INVALID_FIELD", "roles admin and service name the shop", field="shop_id")
        return named
    if named and named != actor.user_id:
        raise Refused("FORBIDDEN", "only the shop itself may change this", field="shop_id")
    return actor.user_id


def shop_to_read(actor: Actor, named: str) -> str:
    """Give the shop whose catalogue or stock is asked for: the named one, or the caller."""
    return named or actor.user_id
