"""Runs a command's work: settings, a client, the loop, and whatever goes wrong as an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import typer

from tradewind.cli.exits import Exit, code_of
from tradewind.cli.output import Output
from tradewind.cli.settings import Flags, Misconfigured, load
from tradewind.cli.source import BrokenFile
from tradewind.sdk import Client, TradewindError

Work = Callable[[Client, Output], Awaitable[Exit | None]]


def flags_of(ctx: typer.Context) -> Flags:
    """The flags that every command has."""
    found = ctx.find_object(Flags)
    return found if found is not None else Flags()


def output_of(ctx: typer.Context) -> Output:
    """Where a command writes."""
    return Output(as_json=flags_of(ctx).json)


def run(ctx: typer.Context, work: Work, *, name: str | None = None) -> None:
    """Do the work with a client, and end with the exit code that it gives or that its error leads to.

    `name`: whose token of the credentials file the work needs, where the user names nobody.
    """
    output = output_of(ctx)
    try:
        code = asyncio.run(_with_client(flags_of(ctx), output, work, name))
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough; nothing more may be written, also not at the interpreter's end.
        with suppress(OSError):
            sys.stdout.close()
        code = Exit.OK
    except OSError as error:
        # Not even the error could be written where it belongs: a full disk, most likely.
        Output(as_json=False).error("output", type(error).__name__, f"cannot be written: {error.strerror or error}")
        with suppress(OSError):
            sys.stdout.close()
        code = Exit.USAGE
    raise typer.Exit(int(code))


async def _with_client(flags: Flags, output: Output, work: Work, name: str | None) -> Exit:
    try:
        settings = load(flags, name)
        async with settings.client() as client:
            return (await work(client, output)) or Exit.OK
    except BrokenPipeError:
        raise
    except FAILURES as error:
        return tell(output, error)


FAILURES = (TradewindError, BrokenFile, Misconfigured, ValueError, OSError)
"""What a command may fail with; anything else is a defect of the command line."""


def tell(output: Output, error: Exception) -> Exit:
    """Say why a command failed, and give the exit code that this leads to."""
    if isinstance(error, TradewindError):
        output.error(type(error).__name__, error.reason, error.message or str(error))
        return code_of(error)
    if isinstance(error, BrokenFile):
        output.error("broken file", "BROKEN_FILE", str(error))
        return Exit.USAGE
    if isinstance(error, OSError):
        output.error("usage", type(error).__name__, f"{error.filename or 'a file'}: {error.strerror or error}")
    else:
        output.error("usage", type(error).__name__, str(error))
    return Exit.USAGE
