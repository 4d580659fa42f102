"""Commands for conversations."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tradewind.cli import (
    chat_attachments,
    chat_bots,
    chat_devices,
    chat_inbox,
    chat_members,
    chat_messages,
    chat_moderation,
    chat_presence,
    chat_privacy,
    chat_reading,
    chat_receipts,
    chat_saying,
    chat_search,
    chat_terminal,
    chat_timed,
)
from tradewind.cli.attributes import Attributes, pairs
from tradewind.cli.exits import Exit
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer(help="Conversations. Without a command, on a terminal: talk on the whole screen.")
app.add_typer(chat_terminal.app)
app.add_typer(chat_saying.app)
app.add_typer(chat_reading.app)
app.add_typer(chat_inbox.app)
app.add_typer(chat_devices.app)
app.add_typer(chat_attachments.app)
app.add_typer(chat_members.app)
app.add_typer(chat_messages.app)
app.add_typer(chat_receipts.app)
app.add_typer(chat_timed.app)
app.add_typer(chat_presence.app)
app.add_typer(chat_search.app)
app.add_typer(chat_moderation.app)
app.add_typer(chat_bots.app)
app.add_typer(chat_privacy.app)


@app.callback(invoke_without_command=True)
def usual(ctx: typer.Context) -> None:
    """Open the terminal client where no command is given."""
    if ctx.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        typer.echo(ctx.get_help())
        raise typer.Exit(int(Exit.USAGE))
    chat_terminal.open_terminal(ctx)


@app.command()
def create(
    ctx: typer.Context,
    members: Annotated[list[str] | None, typer.Argument(help="Who is in it besides you.")] = None,
    title: str = "",
    direct: Annotated[bool, typer.Option(help="The conversation with one other.")] = False,
    channel: Annotated[bool, typer.Option(help="A channel in which you and these speak.")] = False,
    open: Annotated[bool, typer.Option(help="Anybody of the tenant who knows its id may join.")] = False,
    slow_mode: Annotated[int, typer.Option(min=0, help="Seconds between two messages of a member.")] = 0,
    message_ttl: Annotated[int, typer.Option(min=0, help="Seconds that a message lasts; 0: for ever.")] = 0,
    picture: Annotated[str, typer.Option(help="Where its picture is.")] = "",
    attribute: Attributes = None,
) -> None:
    """Start a group, or with --direct the conversation with one other, or with --channel a channel."""
    attributes = pairs(attribute)
    if direct and (len(members or ()) != 1 or channel or open or slow_mode or message_ttl):
        raise typer.BadParameter(
            "a direct conversation is with exactly one other, and nothing else", param_hint="MEMBERS"
        )

    async def work(client: Client, output: Output) -> None:
        if direct:
            conversation = await client.chat.create_direct((members or [""])[0])
        else:
            make = client.chat.create_channel if channel else client.chat.create_group
            conversation = await make(
                members or (),
                title=title,
                attributes=attributes,
                picture=picture,
                open=open,
                slow_mode=slow_mode,
                message_ttl=message_ttl,
            )
        output.message(conversation, conversation.conversation_id)

    run(ctx, work)


@app.command("list")
def list_(
    ctx: typer.Context,
    user: Annotated[str, typer.Option(help="Whose; admins only.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 50,
) -> None:
    """List conversations, newest first."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        async for each in client.chat.list_conversations(user_id=user, page_size=min(limit, 200)):
            cells = (each.conversation_id, each.title, str(len(each.members)), str(each.version))
            rows.append((plain(each), cells))
            if len(rows) == limit:
                break
        output.table(("conversation", "title", "members", "version"), rows)

    run(ctx, work)


@app.command()
def show(ctx: typer.Context, conversation: str) -> None:
    """Show a conversation as it stands."""

    async def work(client: Client, output: Output) -> None:
        chat_members.show(output, await client.chat.get_conversation(conversation))

    run(ctx, work)
