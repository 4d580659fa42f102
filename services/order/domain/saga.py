"""What an order waits for outside its own log: a pure function of its state.

The worker's whole loop is: while there is an effect, perform it and record its outcome. So a crash anywhere, a second wake-up or a late
timer meet the same question and the same answer; effects are named by what the order's log says, hence repeatable.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.order.domain.money import Money
from services.order.domain.order import Order, Payment, Status, Step, Stocking

SECOND = 1_000_000
LONGEST_RETRY_US = 300 * SECOND
"""A step that could not be done is put off for no longer, but for a quarter of spread."""

PAYMENT_UNKNOWN = "PAYMENT_UNKNOWN"
"""The reason an order is cancelled with when its authorisation stayed unknown for too long."""


@dataclass(frozen=True, slots=True)
class Units:
    """Units of an item for one order; ``attempt`` is the reservation attempt that counts."""

    sku: str
    quantity: int
    attempt: int


@dataclass(frozen=True, slots=True)
class ReserveStock:
    """Hold these units."""

    attempt: int
    units: tuple[Units, ...]
    step: Step = Step.RESERVE_STOCK


@dataclass(frozen=True, slots=True)
class AuthorizePayment:
    """Have the amount reserved, then sell the units."""

    payment_key: str
    amount: Money
    payment_method: str
    units: tuple[Units, ...]
    step: Step = Step.AUTHORIZE_PAYMENT


@dataclass(frozen=True, slots=True)
class SellStock:
    """Sell the units; the payment is authorised already."""

    units: tuple[Units, ...]
    step: Step = Step.SELL_STOCK


@dataclass(frozen=True, slots=True)
class CapturePayment:
    """Have the money taken."""

    payment_key: str
    step: Step = Step.CAPTURE_PAYMENT


@dataclass(frozen=True, slots=True)
class ReleaseStock:
    """Give units back. ``sold``: True where they are known to be sold, False where none can be, None where nobody knows."""

    units: tuple[Units, ...]
    sold: bool | None
    step: Step = Step.RELEASE_STOCK


@dataclass(frozen=True, slots=True)
class VoidPayment:
    """Have the authorisation given back."""

    payment_key: str
    step: Step = Step.VOID_PAYMENT


Effect = ReserveStock | AuthorizePayment | SellStock | CapturePayment | ReleaseStock | VoidPayment


def next_effect(order: Order) -> Effect | None:
    """Say what is to be done next; None where the order waits for nobody but people, or for nothing."""
    if order.closed:
        return _compensation(order)
    if order.stocking is Stocking.RESERVING:
        return ReserveStock(order.attempt, _units(order, order.reserving))
    if order.status is Status.STOCK_RESERVED:
        if order.payment is Payment.AUTHORIZED:
            return SellStock(_units(order))
        return AuthorizePayment(order.payment_key, order.total, order.payment_method, _units(order))
    if order.payment is Payment.CAPTURING:
        return CapturePayment(order.payment_key)
    return None


def is_put_off(order: Order, now_us: int) -> bool:
    """Say whether the next effect is not to be tried yet.

    What is put off for longer than any step ever is, was put off by a process whose clock was ahead: that is not believed.
    """
    return 0 < order.retry_us - now_us <= LONGEST_RETRY_US * 5 // 4


def timers(order: Order) -> dict[str, int]:
    """Name the order's timers and when they are due, in microseconds."""
    return {"retry": order.retry_us} if order.retry_us else {}


def _compensation(order: Order) -> Effect | None:
    # Stock first: it is ours, quick, and others wait for it; a gateway may keep us waiting for long.
    if order.stocking not in (Stocking.NONE, Stocking.RELEASED):
        sold = True if order.stocking is Stocking.SOLD else None if order.may_be_sold else False
        return ReleaseStock(_units(order), sold)
    if order.payment is Payment.VOIDING:
        return VoidPayment(order.payment_key)
    return None


def _units(order: Order, skus: tuple[str, ...] = ()) -> tuple[Units, ...]:
    wanted = order.demand()
    return tuple(Units(sku, wanted[sku], order.attempt_of(sku)) for sku in (skus or wanted))
