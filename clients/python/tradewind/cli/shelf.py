"""Commands for items and stock."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.cli.order import amount, money
from tradewind.cli.output import Output
from tradewind.cli.running import run
from tradewind.order.v1 import order_pb2
from tradewind.sdk import Client

item_app = typer.Typer(no_args_is_help=True, help="Items of a shop's catalogue.")
stock_app = typer.Typer(no_args_is_help=True, help="Units of items.")

_Shop = Annotated[str, typer.Option(envvar="TRADEWIND_SHOP", help="The shop; empty: yourself.")]
_Location = Annotated[str, typer.Option(help="Where; empty: main.")]


@item_app.command("put")
def put_item(ctx: typer.Context, sku: str, price: str, title: str = "", shop: _Shop = "shop") -> None:
    """Put an item at a PRICE such as 4.50 (pounds) or '4.50 EUR', or change it."""
    unit_price = money(price)

    async def work(client: Client, output: Output) -> None:
        found = await client.order.put_item(sku, unit_price, title=title, shop_id=shop)
        output.message(found, _item(found))

    run(ctx, work)


@item_app.command("show")
def show_item(ctx: typer.Context, sku: str, shop: _Shop = "shop") -> None:
    """Show an item."""

    async def work(client: Client, output: Output) -> None:
        found = await client.order.get_item(sku, shop_id=shop)
        output.message(found, _item(found))

    run(ctx, work)


@stock_app.command("adjust", context_settings={"ignore_unknown_options": True})
def adjust(ctx: typer.Context, sku: str, delta: int, shop: _Shop = "shop", location: _Location = "") -> None:
    """Add DELTA units, or take some out where it is negative."""

    async def work(client: Client, output: Output) -> None:
        found = await client.order.adjust_stock(sku, delta, shop_id=shop, location=location)
        output.message(found, _stock(found))

    run(ctx, work)


@stock_app.command("show")
def show_stock(ctx: typer.Context, sku: str, shop: _Shop = "shop", location: _Location = "") -> None:
    """Show a stock."""

    async def work(client: Client, output: Output) -> None:
        found = await client.order.get_stock(sku, shop_id=shop, location=location)
        output.message(found, _stock(found))

    run(ctx, work)


def _item(item: order_pb2.Item) -> str:
    return f"{item.sku} {item.title} at {amount(item.unit_price)}"


def _stock(stock: order_pb2.Stock) -> str:
    return f"{stock.sku} at {stock.location}: {stock.available} available, {stock.reserved} reserved, {stock.sold} sold"
