"""Steps 1 and 2: a shop puts items in stock, a customer orders, the saga confirms."""

from __future__ import annotations

from tradewind.order.v1.order_pb2 import ORDER_STATE_PLACED, OrderEvent

from services.standalone.journey.expect import expect
from services.standalone.journey.stage import BOUGHT, CUSTOMER, PRICE, PUT_IN, Stage, amount, names
from services.standalone.screen import Step

_CONFIRMED_BY = (
    "placed",
    "stock_reservation_requested",
    "stock_reserved",
    "payment_authorization_requested",
    "payment_authorized",
    "confirmed",
)


async def place(stage: Stage, step: Step) -> None:
    """Three items in stock, an order for two of them."""
    request_id = stage.memory.request_id
    await stage.shop.order.put_item(stage.sku, PRICE, title="Assam tea, 250 g", request_id=request_id("put item"))
    await stage.shop.order.adjust_stock(stage.sku, PUT_IN, request_id=request_id("put in"))
    stock = await stage.stock()
    # What an interrupted journey bought already is sold, and still counts.
    expect("units ever put in", PUT_IN, stock.available + stock.reserved + stock.sold)
    step.saw(f"stock: {PUT_IN} × {stage.sku}")
    stage.first = (await stage.place("first order", BOUGHT, "pm_visa_ok")).order
    expect("the state of the order as it was placed", ORDER_STATE_PLACED, stage.first.state)
    expect("its customer", CUSTOMER, stage.first.customer_id)
    expect("its total in pence", BOUGHT * PRICE.minor_units, stage.first.total.minor_units)
    durable = await stage.customer.order.get_order(stage.first.order_id)
    expect("its id when asked for", stage.first.order_id, durable.order_id)
    step.saw(f"order {stage.first.order_id}: {BOUGHT} of them, {amount(stage.first.total)}")


async def confirm(stage: Stage, step: Step) -> None:
    """Each step is written before its effect and after it."""
    events = await stage.order_until(stage.first.order_id, "confirmed")
    # Where the gateway was away, it also says that a step was delayed; nothing else may come between.
    happened = [name for name in names(events) if name != "step_delayed"]
    expect("what happened to the order", list(_CONFIRMED_BY), happened)
    expect("what was authorised, in pence", stage.first.total.minor_units, _authorized(events))
    step.saw(
        " → ".join(
            f"{event.version} {name.replace('_', ' ')}" for event, name in zip(events, names(events), strict=True)
        )
    )


def _authorized(events: list[OrderEvent]) -> int:
    requested = next(event for event in events if event.WhichOneof("event") == "payment_authorization_requested")
    return int(requested.payment_authorization_requested.amount.minor_units)
