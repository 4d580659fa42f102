"""Commands for real data: replay, export, import."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tradewind.cli import importing, replaying
from tradewind.cli.exits import Exit
from tradewind.cli.exporting import export
from tradewind.cli.grouping import Terms
from tradewind.cli.output import Output
from tradewind.cli.running import run, tell
from tradewind.cli.source import BrokenFile, Source
from tradewind.cli.verdicts import Note, Refusal
from tradewind.sdk import Client, TradewindError

replay_app = typer.Typer(no_args_is_help=True, help="Play recorded data through the services.")
export_app = typer.Typer(no_args_is_help=True, help="Write what the services hold as files.")
import_app = typer.Typer(no_args_is_help=True, help="Bring in data of another system.")

_FILE = typer.Argument(exists=True, dir_okay=False, readable=True, help="The file; gzip is told by its content.")


@replay_app.command("chat")
def replay_chat(ctx: typer.Context, file: Annotated[Path, _FILE]) -> None:
    """Replay a day of a chat channel (JSON Lines) into one group conversation, one user per nick, in order.

    Needs role service. Running it again changes nothing, and goes on where an
    earlier run was interrupted. Lines that cannot be taken are told with
    their number in the file (from 1) and rule; the others go on.
    """
    run(ctx, lambda client, output: _replay(client, output, file), name="service")


async def _replay(client: Client, output: Output, file: Path) -> Exit:
    report = replaying.Report(_teller(output))
    source = Source(file)
    code = Exit.OK
    try:
        found = await asyncio.to_thread(replaying.survey, source)
        if found.lines == 0:
            async for item in replaying.refusals(source):
                report.tell(item)
            raise BrokenFile("no line of the file can be replayed" if report.refused else "the file is empty")
        with output.progress() as show:
            await replaying.Replay(client, source, found, report).run(lambda line: show("lines", line, found.lines))
    except (TradewindError, BrokenFile) as error:
        code = tell(output, error)
    finally:
        output.line(
            report.summary(),
            f"conversation {report.conversation or '-'}: {report.sent} sent, {report.replayed} replayed, "
            f"{report.refused} refused, {report.rate:.0f} lines/s",
        )
    return code or (Exit.REFUSED if report.refused else Exit.OK)


@export_app.command("chat")
def export_chat(ctx: typer.Context, conversation: str) -> None:
    """Write a conversation as JSON Lines, oldest first: a replayed one as it came, others in the same format.

    Lines end with LF, and fields stand in the format's order: a file that
    was written so comes back byte for byte, any other with the same objects.
    Lines that were refused are not there.
    """

    async def work(client: Client, output: Output) -> None:
        async for line in export(client, conversation):
            output.raw(line)

    run(ctx, work)


@import_app.command("orders")
def import_orders(
    ctx: typer.Context,
    file: Annotated[Path, _FILE],
    stock: Annotated[
        int, typer.Option(min=0, max=1_000_000_000, help="Units of every item to add first, once per file.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many invoices.")] = None,
    currency: Annotated[str, typer.Option(help="ISO 4217 code of all prices.")] = "GBP",
    shop: Annotated[str, typer.Option(envvar="TRADEWIND_SHOP", help="The shop that sold.")] = "shop",
    guest: Annotated[str, typer.Option(help="The customer of invoices that name none.")] = "guest",
    payment_method: Annotated[str, typer.Option(help="The gateway's token of the payer's method.")] = "pm_visa_ok",
    location: Annotated[str, typer.Option(help="Where the stock is; empty: main.")] = "",
) -> None:
    """Import a shop's invoice lines (CSV) as orders, one per invoice; a longer one than 1,000 lines as several.

    Needs role service, or shop for its own. Lines that cannot be part of an
    order are told with their number in the file (the header is 1) and rule;
    `refused` counts such lines, `placed` and `replayed` count orders. Running
    it again changes nothing.
    """
    if not re.fullmatch("[A-Z]{3}", currency):
        raise typer.BadParameter("a currency is a code of three capital letters", param_hint="--currency")
    terms = Terms(shop, currency, guest, payment_method, location)
    run(ctx, lambda client, output: _import(client, output, Source(file), terms, stock, limit), name="service")


async def _import(client: Client, output: Output, source: Source, terms: Terms, stock: int, limit: int | None) -> Exit:
    report = importing.Report(_teller(output))
    code = Exit.OK
    try:
        with output.progress() as show:
            await importing.Import(client, source, terms, report, limit=limit).run(stock, show)
    except (TradewindError, BrokenFile) as error:
        code = tell(output, error)
    finally:
        summary = report.summary()
        totals = ", ".join(f"{amount} {code}" for code, amount in summary["totals"].items()) or "nothing"
        output.line(
            summary,
            f"{report.placed} orders placed, {report.replayed} replayed, {report.refused} lines refused; in all {totals}",
        )
    return code or (Exit.REFUSED if report.refused else Exit.OK)


def _teller(output: Output) -> Callable[[Refusal | Note], None]:
    def tell(item: Refusal | Note) -> None:
        fields = {"line": item.number, "rule": item.rule, "reason": item.reason}
        if isinstance(item, Refusal):
            output.line(fields, f"line {item.number} refused ({item.rule}): {item.reason}")
        else:
            output.note(fields, f"line {item.number}: {item.reason}" if item.number else item.reason)

    return tell
