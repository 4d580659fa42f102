"""Commands that say something."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from tradewind.cli.attributes import Attributes, pairs
from tradewind.cli.chat_reading import told
from tradewind.cli.output import Output
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()


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
    attribute: Attributes = None,
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
