"""Commands that give out all of a conversation or a person, and that erase persons."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tradewind.cli.output import Output
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()
_To = Annotated[Path | None, typer.Option("--to", help="A file, there once it is whole; without it, standard output.")]


def _write(ctx: typer.Context, chunks: Callable[[Client], AsyncGenerator[Any, None]], to: Path | None) -> None:
    async def work(client: Client, output: Output) -> None:
        async with contextlib.aclosing(chunks(client)) as found:
            if to is None:
                async for chunk in found:
                    for line in chunk.json_lines.decode().split("\n")[:-1]:
                        output.raw(line)
                return
            part, size = to.with_name(f"{to.name}.part"), 0
            with part.open("wb") as file:
                async for chunk in found:
                    size += file.write(chunk.json_lines)
            part.replace(to)
            output.line({"file": str(to), "bytes": size}, f"{to}: {size} bytes")

    run(ctx, work)


@app.command("export-conversation")
def export_conversation(ctx: typer.Context, conversation: str, to: _To = None) -> None:
    """Write all events of a conversation as JSON Lines; for its owners and administrators."""
    _write(ctx, lambda client: client.chat.export_conversation(conversation), to)


@app.command("export-person")
def export_person(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(help="Whom; without it, yourself.")] = "",
    to: _To = None,
) -> None:
    """Write all that there is of a person as JSON Lines; others than yourself for administrators."""
    _write(ctx, lambda client: client.chat.export_person(user), to)


@app.command("erase-person")
def erase_person(
    ctx: typer.Context,
    user: str,
    yes: Annotated[bool, typer.Option("--yes", help="It cannot be undone: say that you mean it.")] = False,
) -> None:
    """Erase a person for good: nothing it said can be read any more, by anybody. For administrators."""
    if not yes:
        raise typer.BadParameter("what is erased is gone for good; say --yes", param_hint="--yes")

    async def work(client: Client, output: Output) -> None:
        done = await client.chat.erase_person(user)
        parts = ", ".join(f"{part.name} {part.count}" for part in done.parts)
        output.message(done, f"{user} is erased: {done.keys_destroyed} keys destroyed; {parts}")

    run(ctx, work)
