"""Commands for orders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from tradewind.cli.invoices import in_major_units, in_minor_units
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.cli.verdicts import Broken
from tradewind.order.v1 import order_pb2
from tradewind.sdk import Client
from tradewind.type.v1 import money_pb2

app = typer.Typer(no_args_is_help=True, help="Orders.")
_PREFIX = len("ORDER_STATE_")


def money(text: str) -> money_pb2.Money:
    """Read `4.50` (pounds) or `4.50 EUR`. Raises typer.BadParameter."""
    amount, _, currency = text.partition(" ")
    currency = currency or "GBP"
    if not (len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise typer.BadParameter(f"{text} is not an amount such as 4.50 or '4.50 EUR'")
    try:
        return money_pb2.Money(currency_code=currency, minor_units=in_minor_units(amount, currency))
    except Broken as broken:
        raise typer.BadParameter(broken.reason.replace("UnitPrice", text)) from broken


def amount(value: money_pb2.Money) -> str:
    """Write an amount for people."""
    return f"{in_major_units(value.minor_units, value.currency_code)} {value.currency_code}"


def state(order: order_pb2.Order) -> str:
    """Write an order's state for people."""
    name = order_pb2.OrderState.Name(order.state)[_PREFIX:].lower().replace("_", " ")
    return f"{name} ({order.reason})" if order.reason else name


def _told(order: order_pb2.Order) -> str:
    lines = "\n".join(
        f"  {line.quantity} x {line.sku} {line.title}"
        + (f" at {amount(line.unit_price)}" if line.HasField("unit_price") else "")
        for line in order.lines
    )
    return f"order {order.order_id}: {state(order)}, {amount(order.total)}\n{lines}"


def _line(text: str) -> order_pb2.OrderLine:
    """Read SKU=QUANTITY or SKU=QUANTITY@PRICE."""
    sku, equals, rest = text.rpartition("=")
    quantity, at, price = rest.partition("@")
    if not equals or not sku or not (quantity.isascii() and quantity.isdigit()):
        raise typer.BadParameter(f"{text} is not SKU=QUANTITY or SKU=QUANTITY@PRICE", param_hint="LINES")
    return order_pb2.OrderLine(sku=sku, quantity=int(quantity), unit_price=money(price) if at else None)


@app.command()
def place(
    ctx: typer.Context,
    lines: Annotated[list[str], typer.Argument(help="SKU=QUANTITY, or SKU=QUANTITY@PRICE as a shop or service.")],
    shop: Annotated[str, typer.Option(envvar="TRADEWIND_SHOP", help="The shop.")] = "shop",
    customer: Annotated[str, typer.Option(help="The buyer; shops and services only.")] = "",
    payment_method: Annotated[str, typer.Option(help="The gateway's token of the payer's method.")] = "pm_visa_ok",
    name: Annotated[str, typer.Option(help="Whom to write to.")] = "",
    email: Annotated[str, typer.Option(help="Where mails go; empty sends none.")] = "",
    location: Annotated[str, typer.Option(help="Where the stock is; empty: main.")] = "",
    request_id: Annotated[
        str | None, typer.Option(help="UUIDv7 of this intent; the same again places nothing twice.")
    ] = None,
) -> None:
    """Place an order."""
    order_lines = [_line(text) for text in lines]

    async def work(client: Client, output: Output) -> None:
        contact = order_pb2.Contact(name=name, email=email) if email else None
        answer = await client.order.place_order(
            shop,
            order_lines,
            payment_method,
            customer_id=customer,
            contact=contact,
            location=location,
            request_id=request_id,
        )
        output.message(answer, _told(answer.order) + ("\nplaced before" if answer.replayed else ""))

    run(ctx, work)


@app.command()
def show(ctx: typer.Context, order: str) -> None:
    """Show an order as it stands."""
    _one(ctx, lambda client: client.order.get_order(order))


@app.command("list")
def list_(
    ctx: typer.Context,
    shop: Annotated[str, typer.Option(help="Of this shop.")] = "",
    customer: Annotated[str, typer.Option(help="Of this customer; empty: yourself.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 50,
) -> None:
    """List orders, newest first."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        async for each in client.order.list_orders(shop_id=shop, customer_id=customer, page_size=min(limit, 200)):
            cells = (
                each.order_id,
                state(each),
                each.customer_id,
                each.shop_id,
                amount(each.total),
                str(len(each.lines)),
            )
            rows.append((plain(each), cells))
            if len(rows) == limit:
                break
        output.table(("order", "state", "customer", "shop", "total", "lines"), rows)

    run(ctx, work)


@app.command()
def cancel(ctx: typer.Context, order: str, reason: str = "") -> None:
    """Call an order off, until it is dispatched."""
    _one(ctx, lambda client: client.order.cancel_order(order, reason=reason))


@app.command()
def accept(ctx: typer.Context, order: str, courier: str = "") -> None:
    """Take a confirmed order, as its shop."""
    _one(ctx, lambda client: client.order.accept_order(order, courier_id=courier))


@app.command()
def dispatch(ctx: typer.Context, order: str, courier: str = "") -> None:
    """Give an accepted order to a courier, as its shop."""
    _one(ctx, lambda client: client.order.dispatch_order(order, courier_id=courier))


@app.command()
def deliver(ctx: typer.Context, order: str) -> None:
    """Say that the customer has it, as its courier or shop."""
    _one(ctx, lambda client: client.order.deliver_order(order))


@app.command()
def watch(
    ctx: typer.Context,
    order: str,
    after: Annotated[int, typer.Option(min=0, help="Begin after this version.")] = 0,
) -> None:
    """Watch an order's events, from any version on, until its last one or Ctrl-C."""

    async def work(client: Client, output: Output) -> None:
        async for event in client.order.watch(order, after):
            now = order_pb2.OrderState.Name(event.state_after)[_PREFIX:].lower()
            output.message(event, f"{event.version:>4}  {event.WhichOneof('event') or 'unknown':<32} {now}")

    run(ctx, work)


def _one(ctx: typer.Context, call: Callable[[Client], Awaitable[order_pb2.Order]]) -> None:
    async def work(client: Client, output: Output) -> None:
        found = await call(client)
        output.message(found, _told(found))

    run(ctx, work)
