"""Commands for what is unread, and who has read."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()


@app.command()
def unread(
    ctx: typer.Context,
    conversation: Annotated[str, typer.Argument(help="Where; without it, everywhere.")] = "",
) -> None:
    """Count what you have not read."""

    async def work(client: Client, output: Output) -> None:
        if conversation:
            found = [await client.chat.get_unread(conversation)]
        else:
            found = [each async for each in client.chat.list_unread(page_size=200)]
        rows = [
            (plain(each), (each.conversation_id, str(each.count), str(each.mention_count), str(each.read_version)))
            for each in found
        ]
        output.table(("conversation", "unread", "mentions", "read up to"), rows)

    run(ctx, work)


@app.command()
def read(
    ctx: typer.Context,
    conversation: str,
    version: Annotated[int | None, typer.Option(min=1, help="Up to which version; without it, to the newest.")] = None,
) -> None:
    """Say that you have read."""

    async def work(client: Client, output: Output) -> None:
        upto = version
        if upto is None:
            upto = (await client.chat.get_conversation(conversation)).version
        left = await client.chat.mark(conversation, read=upto)
        output.message(left, f"read up to {left.read_version}, {left.count} unread")

    run(ctx, work)


@app.command()
def receipts(ctx: typer.Context, conversation: str) -> None:
    """List how far each member has got."""

    async def work(client: Client, output: Output) -> None:
        rows = [
            (plain(each), (each.user_id, str(each.read_version), str(each.delivered_version)))
            for each in await client.chat.list_receipts(conversation)
        ]
        output.table(("user", "read up to", "delivered up to"), rows)

    run(ctx, work)
