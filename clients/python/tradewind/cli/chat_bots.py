"""Commands for cards that are pressed."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.chat.v1 import bot_service_pb2
from tradewind.cli.output import Output
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()


@app.command()
def press(
    ctx: typer.Context,
    conversation: str,
    version: Annotated[int, typer.Argument(min=1, help="The card's message.")],
    action: Annotated[str, typer.Argument(help="Which of its actions.")],
    value: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="What is filled in; repeatable.")] = None,
    wait: Annotated[float, typer.Option(min=0, max=10, help="Seconds to wait for an answer.")] = 3.0,
) -> None:
    """Press an action of a card."""
    values = {}
    for each in value or ():
        key, equals, text = each.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{each} is not KEY=VALUE", param_hint="--value")
        values[key] = text

    async def work(client: Client, output: Output) -> None:
        done = await client.chat.press_action(conversation, version, action, values=values, wait=wait)
        output.message(done, done.answer.text if done.HasField("answer") else "pressed")

    run(ctx, work)


@app.command()
def watch_actions(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(min=0, help="Begin after this version.")] = 0,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    share: Annotated[
        str, typer.Option(help="One part of several, by conversation: 0/2 and 1/2 together are all.")
    ] = "",
) -> None:
    """Watch what is pressed on the cards that you posted (role service), until Ctrl-C."""

    async def work(client: Client, output: Output) -> None:
        left = count
        async for event in client.chat.watch_actions(after, share=_part(share)):
            output.message(event, told(event))
            if left is not None:
                left -= 1
                if not left:
                    return

    run(ctx, work)


@app.command()
def answer(ctx: typer.Context, version: Annotated[int, typer.Argument(min=1, help="Which press.")], text: str) -> None:
    """Answer who pressed (role service)."""

    async def work(client: Client, output: Output) -> None:
        number = await client.chat.answer_action(version, text)
        output.line({"version": number}, "answered")

    run(ctx, work)


def _part(share: str) -> tuple[int, int] | None:
    """Read a part of several. Raises ValueError."""
    if not share:
        return None
    index, _, parts = share.partition("/")
    return int(index), int(parts)


def told(event: bot_service_pb2.ActionEvent) -> str:
    """Write an event as a line for people."""
    if event.HasField("answered"):
        return f"{event.version:>6}  answered {event.answered.press_version}: {event.answered.text}"
    pressed = event.pressed
    values = " ".join(f"{key}={value}" for key, value in sorted(pressed.values.items()))
    where = f"{pressed.conversation_id} {pressed.message_version}"
    return f"{event.version:>6}  <{event.actor_id}> pressed {pressed.action_id} of {where} {values}".rstrip()
