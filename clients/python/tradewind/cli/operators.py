"""Commands for operators: dead letters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tradewind.cli.exits import Exit
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer(no_args_is_help=True, help="Events that a consumer could not take.")


class Service(StrEnum):
    """Whose consumers."""

    chat = "chat"
    order = "order"
    mail = "mail"


@app.command("list")
def list_(
    ctx: typer.Context,
    service: Annotated[list[Service] | None, typer.Option(help="Only of this service; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each service.")] = 100,
) -> None:
    """List dead letters, oldest first."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        for each in service or list(Service):
            left = limit
            async for letter in client.admin(each).list_dead_letters(page_size=min(limit, 1000)):
                cells = (each, str(letter.letter_id), letter.role, letter.aggregate, str(letter.tries), letter.reason)
                rows.append(({"service": each, **plain(letter)}, cells))
                left -= 1
                if not left:
                    break
        output.table(("service", "letter", "role", "aggregate", "tries", "reason"), rows)

    run(ctx, work)


@app.command()
def replay(ctx: typer.Context, service: Service, letters: list[int]) -> None:
    """Hand dead letters to their consumer once more."""

    async def work(client: Client, output: Output) -> Exit:
        ended = Exit.OK
        for letter in letters:
            answer = await client.admin(service).replay_dead_letter(letter)
            said = "taken" if answer.taken else f"failed again: {answer.reason}"
            output.line({"service": service, "letter_id": letter, **plain(answer)}, f"letter {letter} {said}")
            if not answer.taken:
                ended = Exit.REFUSED
        return ended

    run(ctx, work)
