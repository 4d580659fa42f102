"""Step 6: what goes wrong is put right, and what is said twice is done once."""

from __future__ import annotations

from dataclasses import dataclass

from tradewind.order.v1 import order_pb2
from tradewind.order.v1.order_pb2 import Order, OrderState, PaymentStatus

from services.standalone.journey import post
from services.standalone.journey.expect import expect
from services.standalone.journey.stage import BOUGHT, PUT_IN, Stage, names
from services.standalone.screen import Step

_LEFT = PUT_IN - BOUGHT


@dataclass(frozen=True)
class _Ending:
    """How an order that comes to nothing should end."""

    event: str
    state: OrderState.ValueType
    payment: PaymentStatus.ValueType
    reason: str


async def go_wrong(stage: Stage, step: Step) -> None:
    """A declined card, an item out of stock, a cancellation after authorisation; then the first order once more."""
    rejected, none = order_pb2.ORDER_STATE_REJECTED, order_pb2.PAYMENT_STATUS_UNSPECIFIED
    await _rejected(
        stage, step, "declined card", 1, "pm_declined",
        _Ending("rejected", rejected, order_pb2.PAYMENT_STATUS_DECLINED, "PAYMENT_DECLINED"),
    )  # fmt: skip
    await _rejected(
        stage,
        step,
        "out of stock",
        PUT_IN,
        "pm_visa_ok",
        _Ending("rejected", rejected, none, "OUT_OF_STOCK"),
    )
    await _cancelled(stage, step)
    await _again(stage, step)


async def _rejected(stage: Stage, step: Step, intent: str, quantity: int, method: str, ending: _Ending) -> None:
    order = (await stage.place(intent, quantity, method)).order
    await _ends(stage, step, order, ending)
    step.saw(f"{intent}: rejected, {ending.reason}; {_LEFT} in stock as before")


async def _cancelled(stage: Stage, step: Step) -> None:
    order = (await stage.place("cancelled", _LEFT, "pm_visa_ok")).order
    events = await stage.order_until(order.order_id, "confirmed")
    expect("that it was authorised", True, "payment_authorized" in names(events))
    word = "changed my mind"
    await stage.customer.order.cancel_order(order.order_id, reason=word, request_id=stage.memory.request_id("cancel"))
    ending = _Ending("cancelled", order_pb2.ORDER_STATE_CANCELLED, order_pb2.PAYMENT_STATUS_VOIDED, word)
    await _ends(stage, step, order, ending)
    step.saw(f"cancelled after authorisation: money voided, {_LEFT} in stock again; conversation and mail tell it")


async def _ends(stage: Stage, step: Step, placed: Order, ending: _Ending) -> None:
    """Check how an order ended, through every service."""
    await stage.order_until(placed.order_id, "settled")
    order = await stage.customer.order.get_order(placed.order_id)
    expect("the order's state", ending.state, order.state)
    expect("its payment", ending.payment, order.payment_status)
    expect("its reason", ending.reason, order.reason)
    expect("that it is settled", True, order.settled)
    await stage.stock_becomes(available=_LEFT, sold=BOUGHT)
    await stage.told(placed.order_id, f"order.{ending.event}")
    await post.letter(stage, step, placed.order_id, f"order-{ending.event}")


async def _again(stage: Stage, step: Step) -> None:
    """Place the first order again with the same request id: the first answer, and nothing changes."""
    before = await stage.customer.order.get_order(stage.first.order_id)
    again = await stage.place("first order", BOUGHT, "pm_visa_ok")
    expect("that it was placed before", True, again.replayed)
    expect(
        "the answer",
        stage.first.SerializeToString(deterministic=True),
        again.order.SerializeToString(deterministic=True),
    )
    after = await stage.customer.order.get_order(stage.first.order_id)
    expect("the order's version", before.version, after.version)
    await stage.stock_becomes(available=_LEFT, sold=BOUGHT)
    step.saw(f"the first PlaceOrder again: the same answer, replayed; the order stays at version {after.version}")
