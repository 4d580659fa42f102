"""Commands for the devices that are told of messages, and when they are not to be."""

from __future__ import annotations

import os
import re
import sys
from enum import StrEnum
from typing import Annotated

import typer

from tradewind.chat.v1 import device_service_pb2 as pb
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.push.v1 import push_gateway_service_pb2 as push
from tradewind.sdk import Client

app = typer.Typer()


class Platform(StrEnum):
    """What a device runs on."""

    APNS = "apns"
    FCM = "fcm"
    WEB = "web"


_PLATFORMS = {
    Platform.APNS: push.PUSH_PLATFORM_APNS,
    Platform.FCM: push.PUSH_PLATFORM_FCM,
    Platform.WEB: push.PUSH_PLATFORM_WEB,
}


@app.command()
def devices(ctx: typer.Context) -> None:
    """List your devices that are told of messages."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        for each in await client.chat.list_devices():
            platform = push.PushPlatform.Name(each.platform).removeprefix("PUSH_PLATFORM_").lower()
            registered = each.register_time.ToJsonString()
            rows.append((plain(each), (each.device_id, platform, each.app_version, each.locale, registered)))
        output.table(("device", "platform", "app", "locale", "registered"), rows)

    run(ctx, work)


@app.command("register-device")
def register_device(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(help="The app's name for this installation.")],
    platform: Platform = Platform.FCM,
    app_version: str = "",
    locale: Annotated[str, typer.Option(help="Language tag, such as de-AT.")] = "",
) -> None:
    """Have a device told of messages while you are away. Its token, a secret, is asked for, or is in TRADEWIND_DEVICE_TOKEN."""
    token = os.environ.get("TRADEWIND_DEVICE_TOKEN", "")
    if not token and not sys.stdin.isatty():
        raise typer.BadParameter(
            "there is no terminal to ask for the device's token", param_hint="TRADEWIND_DEVICE_TOKEN"
        )
    token = token or typer.prompt("Token of the device", hide_input=True)

    async def work(client: Client, output: Output) -> None:
        kept = await client.chat.register_device(
            device, token, _PLATFORMS[platform], app_version=app_version, locale=locale
        )
        output.message(kept, f"{kept.device_id} is told from now on")

    run(ctx, work)


@app.command("unregister-device")
def unregister_device(ctx: typer.Context, device: str) -> None:
    """Have a device told no more."""

    async def work(client: Client, output: Output) -> None:
        await client.chat.unregister_device(device)
        output.message(pb.UnregisterDeviceResponse(), f"{device} is told no more")

    run(ctx, work)


@app.command("quiet-hours")
def quiet_hours(
    ctx: typer.Context,
    hours: Annotated[
        str,
        typer.Argument(metavar="[HH:MM-HH:MM | off]", help="When nothing is pushed; without it, what is set is shown."),
    ] = "",
    zone: Annotated[str, typer.Option(help="Time zone of the IANA database, such as Europe/Berlin.")] = "UTC",
) -> None:
    """Hold notifications back in these hours of the day, and tell of all at their end."""
    wanted = _hours(hours, zone) if hours and hours != "off" else None

    async def work(client: Client, output: Output) -> None:
        kept = await client.chat.get_push_preferences()
        if hours:
            kept.ClearField("quiet_hours")
            if wanted is not None:
                kept.quiet_hours.CopyFrom(wanted)
            kept = await client.chat.set_push_preferences(kept)
        output.message(kept, _told(kept))

    run(ctx, work)


@app.command("push-preferences")
def push_preferences(
    ctx: typer.Context,
    muted: Annotated[bool | None, typer.Option("--muted/--not-muted", help="Nothing is pushed at all.")] = None,
    mentions_only: Annotated[
        bool | None, typer.Option("--mentions-only/--everything", help="Only messages that mention you, or all.")
    ] = None,
    previews: Annotated[
        bool | None, typer.Option("--previews/--no-previews", help="Notifications say what was said.")
    ] = None,
) -> None:
    """Show or set of what you are told."""

    async def work(client: Client, output: Output) -> None:
        kept = await client.chat.get_push_preferences()
        if muted is not None:
            kept.muted = muted
        if mentions_only is not None:
            kept.mentions_only = mentions_only
        if previews is not None:
            kept.hide_previews = not previews
        if (muted, mentions_only, previews) != (None, None, None):
            kept = await client.chat.set_push_preferences(kept)
        output.message(kept, _told(kept))

    run(ctx, work)


def _hours(text: str, zone: str) -> pb.QuietHours:
    """Read HH:MM-HH:MM. Raises typer.BadParameter."""
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)", text)
    if found is None:
        raise typer.BadParameter(f"{text} is not HH:MM-HH:MM, nor off", param_hint="HOURS")
    start, start_minute, end, end_minute = map(int, found.groups())
    return pb.QuietHours(start_minute=start * 60 + start_minute, end_minute=end * 60 + end_minute, time_zone=zone)


def _told(kept: pb.PushPreferences) -> str:
    if kept.muted:
        return "you are told of nothing"
    words = ["you are told of mentions" if kept.mentions_only else "you are told of all messages"]
    if kept.hide_previews:
        words.append("without what was said")
    if kept.HasField("quiet_hours"):
        hours = kept.quiet_hours
        start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (hours.start_minute, hours.end_minute))
        words.append(f"not from {start} to {end} ({hours.time_zone})")
    return ", ".join(words)
