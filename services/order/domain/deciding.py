"""What a command does to an order.

A command of a person that the state does not allow is refused (WRONG_ORDER_STATE). A record of the saga that the state has overtaken
(two workers met, or the order was cancelled meanwhile) changes nothing, and is no error: the saga looks at the state again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.order.domain import commands, events
from services.order.domain.commands import OrderCommand
from services.order.domain.events import Body, OrderEvent
from services.order.domain.evolving import evolve
from services.order.domain.money import total_of
from services.order.domain.order import Order, Payment, Status, Step, Stocking
from services.order.domain.refusal import Refused
from services.order.domain.saga import PAYMENT_UNKNOWN, SECOND, is_put_off, next_effect

AUTHORIZE_DEADLINE_US = 10 * SECOND
"""The longest deadline of an AuthorizePayment call."""
LATE_US = 30 * SECOND
"""So long after that deadline a gateway may still apply it; the contract says so."""
SKEW_US = 5 * SECOND
"""The clocks of Order's processes differ by less."""
PATIENCE_US = 3600 * SECOND
"""An authorisation that stays unknown for so long is given up: the order is cancelled and the payment voided."""

_CANCELLABLE = (Status.PLACED, Status.STOCK_RESERVED, Status.CONFIRMED, Status.ACCEPTED)


def decide(state: Order, command: OrderCommand) -> Sequence[OrderEvent]:
    """Say what happens. Raises Refused: WRONG_ORDER_STATE, ALREADY_EXISTS, CURRENCY_MISMATCH, INVALID_FIELD, NOT_FOUND."""
    if not state.exists and not isinstance(command, commands.PlaceOrder):
        raise Refused("NOT_FOUND", "there is no such order")
    return _DECIDERS[type(command)](state, command)


class _Story:
    """Events told one after the other, each with the state it leaves."""

    def __init__(self, state: Order, at_us: int, actor_id: str = "") -> None:
        self.state = state
        self.events: list[OrderEvent] = []
        self._at_us = at_us
        self._actor_id = actor_id

    def tell(self, body: Body, status: Status | None = None) -> _Story:
        event = OrderEvent(self._at_us, self._actor_id, self.state.status if status is None else status, body)
        self.state = evolve(self.state, event)
        self.events.append(event)
        return self

    def tell_with_order(self, make: Callable[[Order], Body], status: Status) -> _Story:
        """Tell an event that carries the order as it is after that very event."""
        self.tell(make(self.state), status)
        last = self.events[-1]
        self.events[-1] = OrderEvent(last.at_us, last.actor_id, last.status_after, make(self.state))
        return self

    def close(self, make: Callable[[Order], Body], status: Status) -> list[OrderEvent]:
        """Reject or cancel; ask for a void where there is or may be an authorisation; settle where nothing is left to do."""
        self.tell_with_order(make, status)
        if self.state.payment in (Payment.AUTHORIZING, Payment.AUTHORIZED):
            self.tell(events.VoidRequested())
        return self.settle()

    def settle(self) -> list[OrderEvent]:
        """End the story; with Settled where nothing is left to do."""
        if self.state.closed and next_effect(self.state) is None:
            self.tell(events.Settled())
        return self.events


def _place(state: Order, command: commands.PlaceOrder) -> list[OrderEvent]:
    if state.exists:
        # The ledger answers a repeated request id itself; this id is a name for another content.
        raise Refused("ALREADY_EXISTS", "this order exists already", resource=("order", state.order_id))
    placed = events.Placed(
        order_id=command.order_id,
        customer_id=command.customer_id,
        shop_id=command.shop_id,
        location=command.location,
        lines=command.lines,
        total=total_of(command.lines),
        payment_method=command.payment_method,
        contact=command.contact,
        attributes=command.attributes,
    )
    story = _Story(state, command.at_us, command.actor_id).tell(placed, Status.PLACED)
    return story.tell(events.StockReservationRequested(1, ())).events


def _cancel(state: Order, command: commands.CancelOrder) -> list[OrderEvent]:
    if state.status is Status.CANCELLED:
        return []
    _require(state, *_CANCELLABLE)
    story = _Story(state, command.at_us, command.actor_id)
    return story.close(lambda order: events.Cancelled(command.reason, order), Status.CANCELLED)


def _accept(state: Order, command: commands.AcceptOrder) -> list[OrderEvent]:
    _require(state, Status.CONFIRMED)
    return (
        _Story(state, command.at_us, command.actor_id).tell(events.Accepted(command.courier_id), Status.ACCEPTED).events
    )


def _dispatch(state: Order, command: commands.DispatchOrder) -> list[OrderEvent]:
    _require(state, Status.ACCEPTED)
    courier = command.courier_id or state.courier_id
    if not courier:
        raise Refused("INVALID_FIELD", "no courier was named yet", field="courier_id")
    story = _Story(state, command.at_us, command.actor_id)
    return story.tell(events.Dispatched(courier), Status.OUT_FOR_DELIVERY).events


def _deliver(state: Order, command: commands.DeliverOrder) -> list[OrderEvent]:
    _require(state, Status.OUT_FOR_DELIVERY)
    story = _Story(state, command.at_us, command.actor_id).tell(events.Delivered(), Status.DELIVERED)
    return story.tell(events.CaptureRequested(state.total)).events


def _reserved(state: Order, command: commands.RecordReserved) -> list[OrderEvent]:
    if not _reserving(state, command.attempt):
        return []
    story = _Story(state, command.at_us).tell(events.StockReserved(), Status.STOCK_RESERVED)
    if state.payment is Payment.NONE:
        # The key is made of the order alone, so no step of this order is ever asked for under another one.
        story.tell(events.AuthorizationRequested(f"order-{state.order_id}", state.total))
    return story.events


def _out_of_stock(state: Order, command: commands.RecordOutOfStock) -> list[OrderEvent]:
    if not _reserving(state, command.attempt):
        return []
    story = _Story(state, command.at_us)
    return story.close(lambda order: events.Rejected(command.reason, command.sku, order), Status.REJECTED)


def _confirmed(state: Order, command: commands.RecordConfirmed) -> list[OrderEvent]:
    if not _paying(state):
        return []
    story = _authorized(state, command.at_us, command.gateway_reference)
    return story.tell_with_order(events.Confirmed, Status.CONFIRMED).events


def _reservation_lost(state: Order, command: commands.RecordReservationLost) -> list[OrderEvent]:
    if not _paying(state):
        return []
    story = _authorized(state, command.at_us, command.gateway_reference)
    return story.tell(events.StockReservationRequested(state.attempt + 1, command.skus)).events


def _declined(state: Order, command: commands.RecordDeclined) -> list[OrderEvent]:
    if not _paying(state) or state.payment is not Payment.AUTHORIZING:
        return []
    story = _Story(state, command.at_us)
    return story.close(lambda order: events.Rejected("PAYMENT_DECLINED", "", order), Status.REJECTED)


def _captured(state: Order, command: commands.RecordCaptured) -> list[OrderEvent]:
    if state.payment is not Payment.CAPTURING:
        return []
    story = _Story(state, command.at_us).tell(events.Captured(state.total))
    return story.tell_with_order(events.Completed, Status.COMPLETED).events


def _released(state: Order, command: commands.RecordReleased) -> list[OrderEvent]:
    if not state.closed or state.stocking in (Stocking.NONE, Stocking.RELEASED):
        return []
    return _Story(state, command.at_us).tell(events.StockReleased()).settle()


def _voided(state: Order, command: commands.RecordVoided) -> list[OrderEvent]:
    if state.payment is not Payment.VOIDING:
        return []
    believed_us = _never_seen_counts_us(state, command.at_us)
    if not command.existed and not command.final and command.at_us <= believed_us:
        # A worker may have asked for the authorisation just before it could read that the order is closed, and the gateway may be at it
        # still: its "never seen" counts only when nothing can be on its way any more. Who gave the stock back had read it.
        return _delay(state, command.at_us, Step.VOID_PAYMENT, believed_us + 1)
    return _Story(state, command.at_us).tell(events.Voided(command.existed)).settle()


def _never_seen_counts_us(state: Order, at_us: int) -> int:
    """When a gateway's "never seen" counts: so long after the stock was given back that nothing can be on its way."""
    wait_us = AUTHORIZE_DEADLINE_US + LATE_US + SKEW_US
    if state.released_us <= at_us:
        return state.released_us + wait_us
    # The clock of who gave it back was ahead. It was before now, so it is counted from now, once.
    counted = state.delayed is Step.VOID_PAYMENT and state.retry_us <= at_us + wait_us
    return state.retry_us - 1 if counted else at_us + wait_us


def _delayed(state: Order, command: commands.RecordDelayed) -> list[OrderEvent]:
    effect = next_effect(state)
    if effect is None or effect.step is not command.step or is_put_off(state, command.at_us):
        return []
    given_up = command.at_us - state.authorizing_since_us > PATIENCE_US
    if command.step is Step.AUTHORIZE_PAYMENT and given_up:
        story = _Story(state, command.at_us)
        return story.close(lambda order: events.Cancelled(PAYMENT_UNKNOWN, order), Status.CANCELLED)
    return _delay(state, command.at_us, command.step, command.retry_us)


def _delay(state: Order, at_us: int, step: Step, retry_us: int) -> list[OrderEvent]:
    tries = state.tries + 1 if state.delayed is step else 1
    return _Story(state, at_us).tell(events.StepDelayed(step, tries, retry_us)).events


def _authorized(state: Order, at_us: int, gateway_reference: str) -> _Story:
    story = _Story(state, at_us)
    return story.tell(events.Authorized(gateway_reference)) if state.payment is Payment.AUTHORIZING else story


def _reserving(state: Order, attempt: int) -> bool:
    return not state.closed and state.stocking is Stocking.RESERVING and state.attempt == attempt


def _paying(state: Order) -> bool:
    return state.status is Status.STOCK_RESERVED and state.stocking is Stocking.RESERVED


def _require(state: Order, *allowed: Status) -> None:
    if state.status not in allowed:
        raise Refused(
            "WRONG_ORDER_STATE",
            f"an order in state {state.status.name} does not allow this",
            metadata={"state": state.status.name},
            resource=("order", state.order_id),
        )


_DECIDERS: Mapping[type[Any], Callable[[Order, Any], list[OrderEvent]]] = {
    commands.PlaceOrder: _place,
    commands.CancelOrder: _cancel,
    commands.AcceptOrder: _accept,
    commands.DispatchOrder: _dispatch,
    commands.DeliverOrder: _deliver,
    commands.RecordReserved: _reserved,
    commands.RecordOutOfStock: _out_of_stock,
    commands.RecordConfirmed: _confirmed,
    commands.RecordReservationLost: _reservation_lost,
    commands.RecordDeclined: _declined,
    commands.RecordCaptured: _captured,
    commands.RecordReleased: _released,
    commands.RecordVoided: _voided,
    commands.RecordDelayed: _delayed,
}
