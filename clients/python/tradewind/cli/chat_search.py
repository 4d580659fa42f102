"""The command that searches."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

import typer

from tradewind.chat.v1 import search_service_pb2
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()

_BEFORE, _AFTER = 30, 50
"""So much of a text is shown around the first place where something stands."""


@app.command()
def search(
    ctx: typer.Context,
    query: Annotated[
        str, typer.Argument(help='Words, "phrases", prefi*, -exclusions, from:, in:, before:, after:, has:.')
    ],
    in_: Annotated[
        list[str] | None, typer.Option("--in", metavar="CONVERSATION", help="Only there; repeatable.")
    ] = None,
    newest: Annotated[bool, typer.Option(help="The newest first, not the best.")] = False,
    user: Annotated[str, typer.Option(help="In whose conversations; admins only.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 20,
) -> None:
    """Find messages in all your conversations."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        pages = client.chat.search(
            query, conversations=in_ or (), newest_first=newest, user_id=user, page_size=min(limit, 100)
        )
        async for found in pages:
            message = found.message
            at = message.send_time.ToDatetime(UTC).astimezone()
            cells = (
                found.conversation_id,
                str(message.version),
                f"{at:%Y-%m-%d %H:%M}",
                message.sender_id or "*",
                excerpt(found),
            )
            rows.append((plain(found), cells))
            if len(rows) == limit:
                break
        output.table(("conversation", "version", "sent", "from", "text"), rows)

    run(ctx, work)


def excerpt(found: search_service_pb2.FoundMessage) -> str:
    """Give the part of a message's text around the first highlight, on one line, with every highlight between » and «."""
    text = found.message.content.text
    first = found.highlights[0].start if found.highlights else 0
    start, end = max(0, first - _BEFORE), first + _AFTER
    pieces, place = ["…" if start else ""], start
    for span in found.highlights:
        if span.start + span.length > end:
            break
        pieces += [text[place : span.start], "»", text[span.start : span.start + span.length], "«"]
        place = span.start + span.length
    pieces += [text[place : max(place, end)], "…" if len(text) > max(place, end) else ""]
    return " ".join("".join(pieces).split())
