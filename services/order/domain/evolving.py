"""How events make an order's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.order.domain import events
from services.order.domain.events import OrderEvent
from services.order.domain.order import Order, Payment, Step, Stocking, changed


def evolve(state: Order, event: OrderEvent) -> Order:
    """Apply an event."""
    body = event.body
    changes: dict[str, Any] = {"status": event.status_after, "updated_us": event.at_us}
    if not isinstance(body, events.StepDelayed) and state.retry_us:
        changes.update(delayed=Step.NONE, tries=0, retry_us=0)
    changes.update(_CHANGES[type(body)](state, event, body))
    return changed(state, changes)


def _placed(state: Order, event: OrderEvent, body: events.Placed) -> dict[str, Any]:
    del state
    return {
        "order_id": body.order_id,
        "customer_id": body.customer_id,
        "shop_id": body.shop_id,
        "location": body.location,
        "lines": body.lines,
        "total": body.total,
        "payment_method": body.payment_method,
        "contact": body.contact,
        "attributes": body.attributes,
        "created_us": event.at_us,
    }


def _reserving(state: Order, event: OrderEvent, body: events.StockReservationRequested) -> dict[str, Any]:
    del event
    again = {**state.attempts, **dict.fromkeys(body.skus, body.attempt)} if body.skus else state.attempts
    return {"stocking": Stocking.RESERVING, "attempt": body.attempt, "reserving": body.skus, "attempts": again}


def _authorizing(state: Order, event: OrderEvent, body: events.AuthorizationRequested) -> dict[str, Any]:
    del state
    # From now on a worker may hold an authorisation in its hand and be selling.
    return {
        "payment": Payment.AUTHORIZING,
        "payment_key": body.payment_key,
        "authorizing_since_us": event.at_us,
        "may_be_sold": True,
    }


def _accepted(state: Order, event: OrderEvent, body: events.Accepted) -> dict[str, Any]:
    del event
    return {"courier_id": body.courier_id or state.courier_id}


def _closed(state: Order, event: OrderEvent, body: events.Rejected | events.Cancelled) -> dict[str, Any]:
    del state, event
    changes: dict[str, Any] = {"reason": body.reason}
    # The canceller's word may be anything, also the name of a reason.
    if isinstance(body, events.Rejected) and body.reason == "PAYMENT_DECLINED":
        changes["payment"] = Payment.DECLINED
    return changes


def _delayed(state: Order, event: OrderEvent, body: events.StepDelayed) -> dict[str, Any]:
    del state, event
    return {"delayed": body.step, "tries": body.tries, "retry_us": body.retry_us}


_Change = Callable[[Order, OrderEvent, Any], dict[str, Any]]


def _fixed(**changes: object) -> _Change:
    return lambda state, event, body: changes


_CHANGES: Mapping[type[Any], _Change] = {
    events.Placed: _placed,
    events.StockReservationRequested: _reserving,
    events.StockReserved: _fixed(stocking=Stocking.RESERVED, reserving=()),
    events.AuthorizationRequested: _authorizing,
    events.Authorized: _fixed(payment=Payment.AUTHORIZED),
    events.Confirmed: _fixed(stocking=Stocking.SOLD),
    events.Accepted: _accepted,
    events.Dispatched: lambda state, event, body: {"courier_id": body.courier_id},
    events.Delivered: _fixed(),
    events.CaptureRequested: _fixed(payment=Payment.CAPTURING),
    events.Captured: _fixed(payment=Payment.CAPTURED),
    events.Completed: _fixed(settled=True),
    events.Rejected: _closed,
    events.Cancelled: _closed,
    events.VoidRequested: _fixed(payment=Payment.VOIDING),
    events.Voided: _fixed(payment=Payment.VOIDED),
    events.StockReleased: lambda state, event, body: {"stocking": Stocking.RELEASED, "released_us": event.at_us},
    events.Settled: _fixed(settled=True),
    events.StepDelayed: _delayed,
}
