"""The command ``tradewind``; also ``python -m tradewind.cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tradewind.cli import chat, data, mail, operators, order, shelf, traces
from tradewind.cli.exits import HELP
from tradewind.cli.settings import Flags

_EPILOG = (
    "The flags above may stand anywhere on the line. With --json every result is one JSON object on a line of its own. "
    "Where: --endpoint, TRADEWIND_ENDPOINT, TRADEWIND_ENDPOINTS (chat=…,order=…,mail=…), or the credentials.json that a "
    "local Tradewind keeps in its home. Who: --token, TRADEWIND_TOKEN, or --as a name of that file. "
    "TLS: TRADEWIND_TLS=1, TRADEWIND_CA, TRADEWIND_CERT, TRADEWIND_KEY. " + HELP
)
_SWITCHES = frozenset({"--json"})
_VALUES = frozenset({"--as", "--endpoint", "--token", "--home", "--timeout"})

app = typer.Typer(no_args_is_help=True, add_completion=False, epilog=_EPILOG, pretty_exceptions_show_locals=False)
for name, part in (
    ("chat", chat.app),
    ("order", order.app),
    ("item", shelf.item_app),
    ("stock", shelf.stock_app),
    ("mail", mail.app),
    ("replay", data.replay_app),
    ("export", data.export_app),
    ("import", data.import_app),
    ("trace", traces.app),
    ("dead-letters", operators.app),
):
    app.add_typer(part, name=name)


@app.callback()
def root(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Whose token of the credentials file.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="host:port, or chat=host:port,order=…,mail=….")] = None,
    token: Annotated[str | None, typer.Option(help="A bearer token; better in TRADEWIND_TOKEN.")] = None,
    home: Annotated[
        str | None, typer.Option(help="State of a local Tradewind; else TRADEWIND_HOME, else .tradewind.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one call may take, all tries together.")] = 30.0,
) -> None:
    """Chat, Order and Mail from the command line."""
    ctx.obj = Flags(json, name, endpoint, token, home, timeout)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Move the flags that every command has to the front, where the parser wants them; what follows `--` stays."""
    flags: list[str] = []
    rest: list[str] = []
    at = 0
    while at < len(arguments):
        argument = arguments[at]
        if argument == "--":
            rest.extend(arguments[at:])
            break
        if argument in _SWITCHES or (argument.partition("=")[0] in _VALUES and "=" in argument):
            flags.append(argument)
        elif argument in _VALUES:
            flags.extend(arguments[at : at + 2])
            at += 1
        else:
            rest.append(argument)
        at += 1
    return [*flags, *rest]


def main() -> None:
    """Run the command line; ends the process with an exit code of `exits.Exit`."""
    app(args=flags_first(sys.argv[1:]), prog_name="tradewind")


if __name__ == "__main__":
    main()
