"""Commands for who is there, and who types."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

import typer

from tradewind.chat.v1 import presence_service_pb2
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client, SubscriptionEnded

app = typer.Typer()


def told(presence: presence_service_pb2.Presence) -> str:
    """Write how somebody is as a word for people, with when it was there last."""
    word = presence_service_pb2.PresenceState.Name(presence.state).removeprefix("PRESENCE_STATE_").lower()
    if not presence.HasField("last_seen_time"):
        return word
    return f"{word}, seen {presence.last_seen_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"


@app.command()
def presence(
    ctx: typer.Context,
    users: Annotated[list[str], typer.Argument(help="Whom to look for.")],
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and tell every change, until Ctrl-C.")] = False,
) -> None:
    """Tell who is there."""

    async def work(client: Client, output: Output) -> None:
        if watch:
            async for each in client.presence.watch(users):
                output.message(each, f"{each.user_id}: {told(each)}")
            return
        found = await client.presence.get(list(dict.fromkeys(users)))
        output.table(("user", "presence"), [(plain(each), (each.user_id, told(each))) for each in found])

    run(ctx, work)


@app.command()
def online(
    ctx: typer.Context,
    away: Annotated[bool, typer.Option("--away", help="Be connected, but away.")] = False,
    device: Annotated[str, typer.Option(help="The device's own name; without it, one of this run.")] = "",
    lease: Annotated[int, typer.Option(min=10, max=300, help="Seconds after which you fade if this is killed.")] = 60,
) -> None:
    """Be there until Ctrl-C."""

    async def work(client: Client, output: Output) -> None:
        async with client.presence.online(device, away=away, lease=lease) as here:
            state = "away" if away else "online"
            output.line({"device_id": here.device_id, "state": state}, f"{state} as {here.device_id}, until Ctrl-C")
            await here.wait()

    run(ctx, work)


@app.command()
def typing(
    ctx: typer.Context,
    conversation: str,
    stopped: Annotated[bool, typer.Option("--stopped", help="Say that you type no more.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Tell who types, until Ctrl-C.")] = False,
) -> None:
    """Say that you type, which lasts six seconds; or with --watch tell who does."""

    async def work(client: Client, output: Output) -> None:
        if not watch:
            lasts = await client.presence.set_typing(conversation, stopped=stopped)
            output.line({"lasts": lasts}, f"you type for {lasts:g} s" if lasts else "you type no more")
            return
        async for each in client.presence.watch_typing([conversation]):
            if isinstance(each, SubscriptionEnded):
                raise each
            output.message(each, f"{', '.join(each.user_ids)} typing" if each.user_ids else "nobody types")

    run(ctx, work)
