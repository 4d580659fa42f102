"""The command that opens the terminal client."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from typing import Annotated

import typer

from tradewind.cli.exits import Exit
from tradewind.cli.output import Output
from tradewind.cli.running import flags_of, output_of, run
from tradewind.cli.settings import load
from tradewind.sdk import Client

app = typer.Typer()


@app.command("open")
def opened(
    ctx: typer.Context,
    conversation: Annotated[str, typer.Argument(help="Which to begin with; else the most recent one.")] = "",
) -> None:
    """Talk on the whole screen: your conversations, their history, threads, reactions, files, and who types."""
    open_terminal(ctx, conversation)


def open_terminal(ctx: typer.Context, conversation: str = "") -> None:
    """Open the terminal client; ends with the usage exit code where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        output_of(ctx).error("usage", "NO_TERMINAL", "this needs a terminal; chat send, watch and talk do not")
        raise typer.Exit(int(Exit.USAGE))

    async def work(client: Client, _output: Output) -> None:
        # Only who looks at a screen needs what draws it.
        from tradewind.cli.terminal.app import ChatApp

        me = _subject(load(flags_of(ctx)).token or "")
        async with client.chat.converse() as session, client.presence.online():
            await ChatApp(client, session, me, conversation).run_async()

    run(ctx, work)


def _subject(token: str) -> str:
    """Read whose token it is. It is not verified here: the server does that. Raises ValueError."""
    try:
        claims = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])
    except (IndexError, KeyError, TypeError, binascii.Error, json.JSONDecodeError) as error:
        raise ValueError("the token does not say whose it is") from error
