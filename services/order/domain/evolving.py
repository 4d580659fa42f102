"""How events make an order's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from services.order.domain import order as o
from services.order.domain.order import Order, OrderEvent, Payment, Step, Stocking


def evolve(state: Order, event: OrderEvent) -> Order:
    """Apply an event."""
    body = event.body
    changes: dict[str, Any] = {"status": event.status_after, "updated_us": event.at_us}
    if not isinstance(body, o.StepDelayed) and state.retry_us:
        changes.update(delayed=Step.NONE, tries=0, retry_us=0)
    changes.update(_CHANGES[type(body)](state, event, body))
    return replace(state, **changes)


def _placed(state: Order, event: OrderEvent, body: o.Placed) -> dict[str, Any]:
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


def _reserving(state: Order, event: OrderEvent, body: o.StockReservationRequested) -> dict[str, Any]:
    del event
    again = {**state.attempts, **dict.fromkeys(body.skus, body.attempt)} if body.skus else state.attempts
    return {"stocking": Stocking.RESERVING, "attempt": body.attempt, "reserving": body.skus, "attempts": again}


def _authorizing(state: Order, event: OrderEvent, body: o.AuthorizationRequested) -> dict[str, Any]:
    del state
    # From now on a worker may hold an authorisation in its hand and be selling.
    return {
        "payment": Payment.AUTHORIZING,
        "payment_key": body.payment_key,
        "authorizing_since_us": event.at_us,
        "may_be_sold": True,
    }


def _accepted(state: Order, event: OrderEvent, body: o.Accepted) -> dict[str, Any]:
    del event
    return {"courier_id": body.courier_id or state.courier_id}


def _closed(state: Order, event: OrderEvent, body: o.Rejected | o.Cancelled) -> dict[str, Any]:
    changes: dict[str, Any] = {"reason": body.reason, "closed_us": event.at_us}
    # The canceller's word may be anything, also the name of a reason.
    if isinstance(body, o.Rejected) and body.reason == "PAYMENT_DECLINED":
        changes["payment"] = Payment.DECLINED
    return changes


def _delayed(state: Order, event: OrderEvent, body: o.StepDelayed) -> dict[str, Any]:
    del state, event
    return {"delayed": body.step, "tries": body.tries, "retry_us": body.retry_us}


_Change = Callable[[Order, OrderEvent, Any], dict[str, Any]]


def _fixed(**changes: object) -> _Change:
    return lambda state, event, body: changes


_CHANGES: Mapping[type[Any], _Change] = {
    o.Placed: _placed,
    o.StockReservationRequested: _reserving,
    o.StockReserved: _fixed(stocking=Stocking.RESERVED, reserving=()),
    o.AuthorizationRequested: _authorizing,
    o.Authorized: _fixed(payment=Payment.AUTHORIZED),
    o.Confirmed: _fixed(stocking=Stocking.SOLD),
    o.Accepted: _accepted,
    o.Dispatched: lambda state, event, body: {"courier_id": body.courier_id},
    o.Delivered: _fixed(),
    o.CaptureRequested: _fixed(payment=Payment.CAPTURING),
    o.Captured: _fixed(payment=Payment.CAPTURED),
    o.Completed: _fixed(settled=True),
    o.Rejected: _closed,
    o.Cancelled: _closed,
    o.VoidRequested: _fixed(payment=Payment.VOIDING),
    o.Voided: _fixed(payment=Payment.VOIDED),
    o.StockReleased: _fixed(stocking=Stocking.RELEASED),
    o.Settled: _fixed(settled=True),
    o.StepDelayed: _delayed,
}
