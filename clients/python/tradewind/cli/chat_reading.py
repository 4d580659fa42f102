"""Commands that show what was said, and what happens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from tradewind.chat.v1 import chat_pb2
from tradewind.cli.chat_members import told_of_order
from tradewind.cli.chat_messages import shown_message, shown_part, told_of_message, words
from tradewind.cli.chat_timed import told_of_time
from tradewind.cli.output import Output
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()


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
    told_otherwise = told_of_order(event) or told_of_message(event) or told_of_time(event)
    return f"{event.version:>6}  {told_otherwise or which or 'unknown'}"


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
