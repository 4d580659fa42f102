"""Stock of one item at one place: units that come, are held for orders, are sold, and come back.

Always ``available + reserved + sold`` is the sum of all adjustments, and none of the three is below zero.

What is remembered: reservations that are open, by order, and nothing else; so the state is as large as what is under way,
however many orders there ever were. That a step of one order counts once is then told by three things together:

- A second ``Reserve`` finds the open reservation; a second ``Release`` or ``Expire`` finds none.
- ``Reserve``, ``Sell`` and ``TakeBack`` travel with a request id made of order, item and attempt, and the ledger applies a request id
  once, without a window. So a late ``Reserve`` of a worker that slept holds units only until they expire, and can not be sold.
- Whether units were sold is knowledge of the order: ``TakeBack`` is asked for only by the saga of an order whose ``Sell`` succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from services.order.domain.refusal import Refused

MOST_UNITS = 10**15
"""No stock holds more; far below what the contract's int64 can say."""
MOST_EXPIRED = 500
"""So many reservations run out in one entry; more follow in the next."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units held for an order, until a time in microseconds."""

    quantity: int
    expire_us: int


@dataclass(frozen=True, slots=True)
class Stock:
    """A stock as it stands."""

    available: int = 0
    reserved: int = 0
    sold: int = 0
    reservations: dict[str, Reservation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Adjust:
    """Put units in (positive) or take some out (negative)."""

    at_us: int
    actor_id: str
    delta: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold units for an order until ``expire_us``."""

    at_us: int
    order_id: str
    quantity: int
    expire_us: int


@dataclass(frozen=True, slots=True)
class Sell:
    """Sell what is held for an order."""

    at_us: int
    order_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Release:
    """Give back what is held for an order, if anything is."""

    at_us: int
    order_id: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Give back what an order bought."""

    at_us: int
    order_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Expire:
    """Give back what was held until now or earlier."""

    at_us: int


StockCommand = Adjust | Reserve | Sell | Release | TakeBack | Expire


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Units came or went."""

    at_us: int
    actor_id: str
    delta: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """Units are held for an order."""

    at_us: int
    order_id: str
    quantity: int
    expire_us: int


@dataclass(frozen=True, slots=True)
class Released:
    """An order's units are available again, sold before or only held."""

    at_us: int
    order_id: str
    quantity: int
    was_sold: bool


@dataclass(frozen=True, slots=True)
class Sold:
    """An order's units are sold."""

    at_us: int
    order_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A reservation ran out."""

    at_us: int
    order_id: str
    quantity: int


StockEvent = Adjusted | Reserved | Released | Sold | Expired


def decide(state: Stock, command: StockCommand) -> Sequence[StockEvent]:
    """Say what a command changes. Raises Refused: STOCK_BELOW_ZERO, OUT_OF_STOCK, NO_RESERVATION."""
    match command:
        case Adjust():
            return [_adjusted(state, command)]
        case Reserve():
            return _reserve(state, command)
        case Sell(at_us, order_id, quantity):
            return [_sold(state, at_us, order_id, quantity)]
        case Release(at_us, order_id):
            held = state.reservations.get(order_id)
            return [] if held is None else [Released(at_us, order_id, held.quantity, was_sold=False)]
        case TakeBack(at_us, order_id, quantity):
            if quantity > state.sold:
                raise Refused("NO_RESERVATION", "fewer units are sold than shall be taken back")
            return [Released(at_us, order_id, quantity, was_sold=True)]
        case Expire(at_us):
            return _overdue(state, at_us)


def evolve(state: Stock, event: StockEvent) -> Stock:
    """Apply an event."""
    match event:
        case Adjusted():
            return replace(state, available=state.available + event.delta)
        case Reserved():
            held = {**state.reservations, event.order_id: Reservation(event.quantity, event.expire_us)}
            return replace(
                state,
                available=state.available - event.quantity,
                reserved=state.reserved + event.quantity,
                reservations=held,
            )
        case Released(was_sold=True):
            return replace(state, available=state.available + event.quantity, sold=state.sold - event.quantity)
        case Released() | Expired():
            return replace(
                state,
                available=state.available + event.quantity,
                reserved=state.reserved - event.quantity,
                reservations=_without(state, event.order_id),
            )
        case Sold():
            return replace(
                state,
                reserved=state.reserved - event.quantity,
                sold=state.sold + event.quantity,
                reservations=_without(state, event.order_id),
            )


def next_expiry(state: Stock) -> int | None:
    """Say when the earliest reservation runs out, in microseconds; None where nothing is held."""
    return min((held.expire_us for held in state.reservations.values()), default=None)


def _adjusted(state: Stock, command: Adjust) -> Adjusted:
    if state.available + command.delta < 0:
        raise Refused(
            "STOCK_BELOW_ZERO",
            "fewer units are available than shall be taken out",
            metadata={"available": str(state.available)},
        )
    if state.available + state.reserved + state.sold + command.delta > MOST_UNITS:
        raise Refused("INVALID_FIELD", "a stock cannot hold so many units", field="delta")
    return Adjusted(command.at_us, command.actor_id, command.delta)


def _reserve(state: Stock, command: Reserve) -> list[StockEvent]:
    held = state.reservations.get(command.order_id)
    if held is not None:
        return []
    events: list[StockEvent] = []
    available = state.available
    if available < command.quantity:
        # The timer that gives back what has run out may be late; nobody is refused for that.
        overdue = _overdue(state, command.at_us)
        available += sum(event.quantity for event in overdue)
        events.extend(overdue)
    if available < command.quantity:
        raise Refused(
            "OUT_OF_STOCK",
            "not enough units are available",
            metadata={"wanted": str(command.quantity), "available": str(state.available)},
        )
    events.append(Reserved(command.at_us, command.order_id, command.quantity, command.expire_us))
    return events


def _sold(state: Stock, at_us: int, order_id: str, quantity: int) -> Sold:
    held = state.reservations.get(order_id)
    if held is None or held.quantity != quantity:
        raise Refused("NO_RESERVATION", "the reservation is not there any more")
    return Sold(at_us, order_id, quantity)


def _overdue(state: Stock, now_us: int) -> list[Expired]:
    overdue = []
    for order_id, held in state.reservations.items():
        if held.expire_us <= now_us:
            overdue.append(Expired(now_us, order_id, held.quantity))
            if len(overdue) == MOST_EXPIRED:
                break
    return overdue


def _without(state: Stock, order_id: str) -> dict[str, Reservation]:
    left = dict(state.reservations)
    del left[order_id]
    return left
