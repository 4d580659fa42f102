"""An order as it stands. What is done to it is in ``commands``, what happens in ``events``; ``deciding`` makes the one of the other,
``evolving`` the order of its events, ``saga`` what it waits for. Times are microseconds since the Unix epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any

from services.order.domain.money import NO_MONEY, Line, Money


class Status(IntEnum):
    """How far an order is; numbers are those of the contract's OrderState."""

    NONE = 0
    PLACED = 1
    STOCK_RESERVED = 2
    CONFIRMED = 3
    ACCEPTED = 4
    OUT_FOR_DELIVERY = 5
    DELIVERED = 6
    COMPLETED = 7
    REJECTED = 8
    CANCELLED = 9


class Payment(IntEnum):
    """What became of the money; numbers are those of the contract's PaymentStatus."""

    NONE = 0
    AUTHORIZING = 1
    AUTHORIZED = 2
    DECLINED = 3
    CAPTURING = 4
    CAPTURED = 5
    VOIDING = 6
    VOIDED = 7


class Stocking(IntEnum):
    """What became of the order's units."""

    NONE = 0
    RESERVING = 1
    RESERVED = 2
    SOLD = 3
    RELEASED = 4


class Step(IntEnum):
    """A step of the saga; numbers are those of the contract's OrderStep."""

    NONE = 0
    RESERVE_STOCK = 1
    AUTHORIZE_PAYMENT = 2
    SELL_STOCK = 3
    CAPTURE_PAYMENT = 4
    RELEASE_STOCK = 5
    VOID_PAYMENT = 6


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to write to; personal data."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it stands."""

    order_id: str = ""
    customer_id: str = ""
    shop_id: str = ""
    courier_id: str = ""
    location: str = ""
    lines: tuple[Line, ...] = ()
    total: Money = NO_MONEY
    payment_method: str = ""
    contact: Contact | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    status: Status = Status.NONE
    payment: Payment = Payment.NONE
    payment_key: str = ""
    stocking: Stocking = Stocking.NONE
    attempt: int = 0
    """Number of the reservation attempt that runs or ran last."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Of items that were reserved again: the attempt that counts for them; 1 for all others."""
    reserving: tuple[str, ...] = ()
    """The items that are being reserved again; empty while all are."""
    may_be_sold: bool = False
    """True once units of it may have been sold, though the order does not know it yet."""
    reason: str = ""
    settled: bool = False
    created_us: int = 0
    updated_us: int = 0
    authorizing_since_us: int = 0
    released_us: int = 0
    """When its stock was given back, by a worker that had read that it is rejected or cancelled."""
    delayed: Step = Step.NONE
    tries: int = 0
    """How often in a row the step was delayed."""
    retry_us: int = 0
    """When the delayed step is due again; 0 where none is."""

    @property
    def exists(self) -> bool:
        """True once it was placed."""
        return self.status is not Status.NONE

    @property
    def closed(self) -> bool:
        """True once it was rejected or cancelled."""
        return self.status in (Status.REJECTED, Status.CANCELLED)

    def attempt_of(self, sku: str) -> int:
        """Say which reservation attempt counts for an item."""
        return self.attempts.get(sku, 1)

    def demand(self) -> dict[str, int]:
        """Sum the units of each item over all lines, in order of first mention."""
        wanted: dict[str, int] = {}
        for line in self.lines:
            wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
        return wanted


def changed(order: Order, changes: Mapping[str, Any]) -> Order:
    """Give a copy of an order with some fields changed.

    As ``dataclasses.replace`` does, at less than half its cost: an order is changed a dozen times in its life, and this is where its
    rules spend their time.
    """
    copy = object.__new__(Order)
    for name in _FIELDS:
        object.__setattr__(copy, name, changes[name] if name in changes else getattr(order, name))
    return copy


_FIELDS = tuple(each.name for each in fields(Order))
