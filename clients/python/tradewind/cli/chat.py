"""Commands for conversations."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from tradewind.chat.v1 import chat_pb2
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
    chat_receipts,
    chat_search,
    chat_terminal,
    chat_timed,
)
from tradewind.cli.chat_members import told_of_order
from tradewind.cli.chat_messages import shown_message, shown_part, told_of_message, words
from tradewind.cli.exits import Exit
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer(help="Conversations. Without a command, on a terminal: talk on the whole screen.")
app.add_typer(chat_terminal.app)
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

_Attributes = Annotated[
    list[str] | None, typer.Option("--attribute", metavar="KEY=VALUE", help="A free word; repeatable.")
]


@app.callback(invoke_without_command=True)
def usual(ctx: typer.Context) -> None:
    """Open the terminal client where no command is given."""
    if ctx.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        typer.echo(ctx.get_help())
        raise typer.Exit(int(Exit.USAGE))
    chat_terminal.open_terminal(ctx)


def pairs(texts: list[str] | None) -> dict[str, str]:
    """Read KEY=VALUE options. Raises typer.BadParameter."""
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text} is not KEY=VALUE", param_hint="--attribute")
        found[key] = value
    return found


def told(event: chat_pb2.ConversationEvent) -> str:
    """Write an event as a line for people."""
    which = event.WhichOneof("event")
    if which == "message":
        carried = "".join(f"  [{shown_part(part)}]" for part in event.message.parts)
        return f"{event.version:>6}  <{event.actor_id}> {words(event.message)}{carried}"
    if which == "system_message":
        return f"{event.version:>6}  * {event.system_message.text}"
    if which == "members_added":
        return f"{event.version:>6}  + {', '.join(member.user_id for member in event.members_added.members)}"
    if which == "members_removed":
        return f"{event.version:>6}  - {', '.join(event.members_removed.user_ids)}"
    told_otherwise = told_of_order(event) or told_of_message(event) or chat_timed.told_of_time(event)
    return f"{event.version:>6}  {told_otherwise or which or 'unknown'}"


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
    attribute: _Attributes = None,
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


@app.command()
def send(
    ctx: typer.Context,
    conversation: str,
    text: str,
    sender: Annotated[str, typer.Option(help="Who speaks; role service only.")] = "",
    reply_to: Annotated[list[int] | None, typer.Option(help="Version of a message it answers; repeatable.")] = None,
    thread: Annotated[int, typer.Option(min=0, help="Version of the message whose thread it is said in.")] = 0,
    mention: Annotated[list[str] | None, typer.Option(help="Whom it is for in particular; repeatable.")] = None,
    mention_all: Annotated[bool, typer.Option(help="It is for everybody in particular.")] = False,
    expire_after: Annotated[float | None, typer.Option(min=5, help="Seconds that it lasts.")] = None,
    at: Annotated[datetime | None, typer.Option(help="Send it at this time (UTC).")] = None,
    attribute: _Attributes = None,
    request_id: Annotated[
        str | None, typer.Option(help="UUIDv7 of this intent; the same again says nothing twice.")
    ] = None,
) -> None:
    """Say something."""
    attributes = pairs(attribute)
    if at is not None and sender:
        raise typer.BadParameter("what is sent later is said by yourself", param_hint="--sender")

    async def work(client: Client, output: Output) -> None:
        if at is not None:
            scheduled = await client.chat.schedule_message(
                conversation,
                text,
                at.replace(tzinfo=UTC),
                reply_to=reply_to or (),
                thread_root=thread,
                mentions=mention or (),
                mention_all=mention_all,
                attributes=attributes,
                expire_after=expire_after,
                request_id=request_id,
            )
            output.message(scheduled, scheduled.scheduled_id)
            return
        answer = await client.chat.send_message(
            conversation,
            text,
            reply_to=reply_to or (),
            thread_root=thread,
            mentions=mention or (),
            mention_all=mention_all,
            attributes=attributes,
            expire_after=expire_after,
            sender_id=sender,
            request_id=request_id,
        )
        output.message(answer, f"version {answer.version}")

    run(ctx, work)


@app.command()
def history(
    ctx: typer.Context,
    conversation: str,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    oldest_first: Annotated[bool, typer.Option(help="From the beginning on, instead of from the end back.")] = False,
    beyond: Annotated[int, typer.Option(min=0, help="Begin beyond this version.")] = 0,
    thread: Annotated[int, typer.Option(min=0, help="Only the thread of this message.")] = 0,
    pinned: Annotated[bool, typer.Option(help="Only what is pinned.")] = False,
    since: Annotated[
        datetime | None, typer.Option(help="Begin at this time (UTC): from then on, or back from then.")
    ] = None,
    around: Annotated[int, typer.Option(min=0, help="This message and what was said before and after it.")] = 0,
) -> None:
    """List messages."""

    async def work(client: Client, output: Output) -> None:
        if around:
            for message in await client.chat.messages_around(conversation, around, each_way=min(limit // 2, 499)):
                output.message(message, shown_message(message))
            return
        left = limit
        messages = client.chat.list_messages(
            conversation,
            oldest_first=oldest_first,
            from_version=beyond,
            thread_root=thread,
            pinned_only=pinned,
            from_time=since.replace(tzinfo=UTC) if since is not None else None,
            page_size=min(limit, 500),
        )
        async for message in messages:
            output.message(message, shown_message(message))
            left -= 1
            if not left:
                return

    run(ctx, work)


@app.command()
def watch(
    ctx: typer.Context,
    conversation: str,
    after: Annotated[int, typer.Option(min=0, help="Begin after this version.")] = 0,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
) -> None:
    """Watch what happens in a conversation, from any version on, until Ctrl-C."""

    async def work(client: Client, output: Output) -> None:
        left = count
        async for event in client.chat.watch(conversation, after):
            output.message(event, told(event))
            if left is not None:
                left -= 1
                if not left:
                    return

    run(ctx, work)


@app.command()
def talk(ctx: typer.Context, conversation: str) -> None:
    """Talk: every line of the standard input is sent, and what others say is shown, until the input ends."""

    async def work(client: Client, output: Output) -> None:
        now = await client.chat.get_conversation(conversation)
        async with client.chat.converse() as session:
            session.subscribe(conversation, after=now.version)

            async def listen() -> None:
                async for _, event in session:
                    output.message(event, told(event))

            listener = asyncio.create_task(listen())
            try:
                async for line in typed_lines():
                    if line and not listener.done():
                        await session.send(conversation, line)
            finally:
                listener.cancel()
                with suppress(asyncio.CancelledError):
                    await listener

    run(ctx, work)


async def typed_lines() -> AsyncIterator[str]:
    """Iterate over the lines of the standard input.

    Read on a thread that may be left behind, since nothing else ends a program that waits for a terminal; at most 64 lines ahead.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue(maxsize=64)

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            for line in sys.stdin:
                asyncio.run_coroutine_threadsafe(lines.put(line.rstrip("\n")), loop).result()
            asyncio.run_coroutine_threadsafe(lines.put(None), loop).result()

    threading.Thread(target=read, daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line
