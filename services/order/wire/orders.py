"""Orders and their events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tradewind.order.v1 import order_pb2

from services.order.domain import events
from services.order.domain.events import Body, OrderEvent
from services.order.domain.order import Order, Status, Step
from services.order.wire import values


def order(of: Order, version: int) -> order_pb2.Order:
    """Give an order at a version as answers and events show it."""
    return order_pb2.Order(
        order_id=of.order_id,
        version=version,
        state=order_pb2.OrderState.ValueType(of.status),
        customer_id=of.customer_id,
        shop_id=of.shop_id,
        courier_id=of.courier_id,
        lines=values.lines(of.lines),
        total=values.money(of.total),
        payment_status=order_pb2.PaymentStatus.ValueType(of.payment),
        reason=of.reason,
        settled=of.settled,
        create_time=values.timestamp(of.created_us),
        update_time=values.timestamp(of.updated_us),
        attributes=of.attributes or None,
    )


def encode(event: OrderEvent, version: int) -> bytes:
    """Give an event's public bytes: what log, store and watchers hold."""
    name, write, _ = _BODIES[type(event.body)]
    message = order_pb2.OrderEvent(
        version=version,
        event_time=values.timestamp(event.at_us),
        actor_id=event.actor_id,
        state_after=order_pb2.OrderState.ValueType(event.status_after),
        **{name: write(event.body, version)},
    )
    return message.SerializeToString(deterministic=True)


def decode(data: bytes) -> OrderEvent:
    """Read an event's public bytes. Raises ValueError for one of a later release that this one does not know."""
    message = order_pb2.OrderEvent.FromString(data)
    name = message.WhichOneof("event")
    if name is None:
        raise ValueError("an order's event of a kind this release does not know")
    return OrderEvent(
        values.micros(message.event_time),
        message.actor_id,
        Status(message.state_after),
        _READERS[name](getattr(message, name)),
    )


def _told(of: Order | None, version: int) -> dict[str, Any]:
    """Give what others need to know of an order, for the events that carry it."""
    return {} if of is None else {"order": order(of, version), "contact": values.contact(of.contact)}


def _placed(body: events.Placed, version: int) -> order_pb2.OrderPlaced:
    del version
    return order_pb2.OrderPlaced(
        order_id=body.order_id,
        customer_id=body.customer_id,
        shop_id=body.shop_id,
        lines=values.lines(body.lines),
        total=values.money(body.total),
        payment_method=body.payment_method,
        contact=values.contact(body.contact),
        attributes=body.attributes or None,
        location=body.location,
    )


def _to_placed(message: order_pb2.OrderPlaced) -> events.Placed:
    return events.Placed(
        order_id=message.order_id,
        customer_id=message.customer_id,
        shop_id=message.shop_id,
        location=message.location,
        lines=values.to_lines(message.lines),
        total=values.to_money(message.total),
        payment_method=message.payment_method,
        contact=values.to_contact(message.contact) if message.HasField("contact") else None,
        attributes=dict(message.attributes),
    )


def _rejected(body: events.Rejected, version: int) -> order_pb2.OrderRejected:
    return order_pb2.OrderRejected(reason=body.reason, sku=body.sku, **_told(body.order, version))


def _delayed(body: events.StepDelayed, version: int) -> order_pb2.OrderStepDelayed:
    del version
    return order_pb2.OrderStepDelayed(
        step=order_pb2.OrderStep.ValueType(body.step), tries=body.tries, retry_time=values.timestamp(body.retry_us)
    )


def _to_delayed(message: order_pb2.OrderStepDelayed) -> events.StepDelayed:
    return events.StepDelayed(Step(message.step), message.tries, values.micros(message.retry_time))


_Writer = Callable[[Any, int], Any]
_Reader = Callable[[Any], Body]

_BODIES: Mapping[type[Any], tuple[str, _Writer, _Reader]] = {
    events.Placed: ("placed", _placed, _to_placed),
    events.StockReservationRequested: (
        "stock_reservation_requested",
        lambda body, _: order_pb2.StockReservationRequested(attempt=body.attempt, skus=body.skus),
        lambda message: events.StockReservationRequested(message.attempt, tuple(message.skus)),
    ),
    events.StockReserved: (
        "stock_reserved",
        lambda *_: order_pb2.OrderStockReserved(),
        lambda _: events.StockReserved(),
    ),
    events.AuthorizationRequested: (
        "payment_authorization_requested",
        lambda body, _: order_pb2.PaymentAuthorizationRequested(
            payment_key=body.payment_key, amount=values.money(body.amount)
        ),
        lambda message: events.AuthorizationRequested(message.payment_key, values.to_money(message.amount)),
    ),
    events.Authorized: (
        "payment_authorized",
        lambda body, _: order_pb2.PaymentAuthorized(gateway_reference=body.gateway_reference),
        lambda message: events.Authorized(message.gateway_reference),
    ),
    events.Confirmed: (
        "confirmed",
        lambda body, version: order_pb2.OrderConfirmed(**_told(body.order, version)),
        lambda _: events.Confirmed(),
    ),
    events.Accepted: (
        "accepted",
        lambda body, _: order_pb2.OrderAccepted(courier_id=body.courier_id),
        lambda message: events.Accepted(message.courier_id),
    ),
    events.Dispatched: (
        "dispatched",
        lambda body, _: order_pb2.OrderDispatched(courier_id=body.courier_id),
        lambda message: events.Dispatched(message.courier_id),
    ),
    events.Delivered: ("delivered", lambda *_: order_pb2.OrderDelivered(), lambda _: events.Delivered()),
    events.CaptureRequested: (
        "payment_capture_requested",
        lambda body, _: order_pb2.PaymentCaptureRequested(amount=values.money(body.amount)),
        lambda message: events.CaptureRequested(values.to_money(message.amount)),
    ),
    events.Captured: (
        "payment_captured",
        lambda body, _: order_pb2.PaymentCaptured(amount=values.money(body.amount)),
        lambda message: events.Captured(values.to_money(message.amount)),
    ),
    events.Completed: (
        "completed",
        lambda body, version: order_pb2.OrderCompleted(**_told(body.order, version)),
        lambda _: events.Completed(),
    ),
    events.Rejected: ("rejected", _rejected, lambda message: events.Rejected(message.reason, message.sku)),
    events.Cancelled: (
        "cancelled",
        lambda body, version: order_pb2.OrderCancelled(reason=body.reason, **_told(body.order, version)),
        lambda message: events.Cancelled(message.reason),
    ),
    events.VoidRequested: (
        "payment_void_requested",
        lambda *_: order_pb2.PaymentVoidRequested(),
        lambda _: events.VoidRequested(),
    ),
    events.Voided: (
        "payment_voided",
        lambda body, _: order_pb2.PaymentVoided(existed=body.existed),
        lambda message: events.Voided(message.existed),
    ),
    events.StockReleased: (
        "stock_released",
        lambda *_: order_pb2.OrderStockReleased(),
        lambda _: events.StockReleased(),
    ),
    events.Settled: ("settled", lambda *_: order_pb2.OrderSettled(), lambda _: events.Settled()),
    events.StepDelayed: ("step_delayed", _delayed, _to_delayed),
}
"""Of each event: its name in the oneof, how it is written, how it is read. Events that carry the order are read without it: the state
is made of the other events, and the snapshot is for those who have only this one."""

_READERS: Mapping[str, _Reader] = {name: read for name, _, read in _BODIES.values()}
