"""Commands of those who report messages, and of those who moderate a tenant."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC
from enum import StrEnum
from typing import Annotated

import typer

from tradewind.chat.v1 import moderation_pb2
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()


class Reason(StrEnum):
    """Why a message is reported."""

    SPAM = "spam"
    HARASSMENT = "harassment"
    HATE = "hate"
    VIOLENCE = "violence"
    SEXUAL = "sexual"
    SELF_HARM = "self-harm"
    FRAUD = "fraud"
    OTHER = "other"


class Resolution(StrEnum):
    """How a reported message is dealt with."""

    DISMISS = "dismiss"
    REMOVE = "remove"
    BAN_AUTHOR = "ban-author"


_RESOLUTIONS = {
    Resolution.DISMISS: moderation_pb2.REPORT_RESOLUTION_DISMISSED,
    Resolution.REMOVE: moderation_pb2.REPORT_RESOLUTION_REMOVED,
    Resolution.BAN_AUTHOR: moderation_pb2.REPORT_RESOLUTION_AUTHOR_BANNED,
}
_Seconds = Annotated[float | None, typer.Option(min=0.001, help="For so long; without it, for ever.")]


@app.command()
def report(
    ctx: typer.Context,
    conversation: str,
    version: Annotated[int, typer.Argument(min=1, help="Which message.")],
    reason: Annotated[Reason, typer.Option(help="Why.")] = Reason.OTHER,
    text: Annotated[str, typer.Option(help="In your own words.")] = "",
) -> None:
    """Report a message to those who moderate."""
    value = moderation_pb2.ReportReason.Value("REPORT_REASON_" + reason.name)

    async def work(client: Client, output: Output) -> None:
        await client.chat.report_message(conversation, version, value, text)
        output.line({"conversation_id": conversation, "message_version": version}, "reported")

    run(ctx, work)


@app.command()
def reports(
    ctx: typer.Context,
    resolved: Annotated[bool, typer.Option(help="Those that were dealt with.")] = False,
    watch: Annotated[bool, typer.Option(help="Go on showing what changes, until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 50,
) -> None:
    """List reported messages, or watch them come."""

    async def show(client: Client, output: Output) -> None:
        rows = []
        async for each in client.chat.list_reports(resolved=resolved, page_size=min(limit, 200)):
            rows.append((plain(each), _cells(each)))
            if len(rows) == limit:
                break
        output.table(("conversation", "version", "from", "reports", "why", "decided", "text"), rows)

    async def follow(client: Client, output: Output) -> None:
        async with aclosing(client.chat.watch_reports()) as changes:
            async for each in changes:
                output.message(each, "  ".join(_cells(each)[:-1]))

    run(ctx, follow if watch else show)


def _cells(report: moderation_pb2.ReportedMessage) -> tuple[str, ...]:
    reasons = (moderation_pb2.ReportReason.Name(each.reason) for each in report.reasons)
    return (
        report.conversation_id,
        str(report.message_version),
        report.sender_id,
        str(report.report_count),
        ", ".join(reason.removeprefix("REPORT_REASON_").lower() for reason in reasons),
        moderation_pb2.ReportResolution.Name(report.resolution).removeprefix("REPORT_RESOLUTION_").lower()
        if report.resolution
        else "",
        report.message.content.text,
    )


@app.command()
def resolve(
    ctx: typer.Context,
    conversation: str,
    version: Annotated[int, typer.Argument(min=1, help="Which message.")],
    how: Annotated[Resolution, typer.Argument(help="What becomes of it.")],
    note: Annotated[str, typer.Option(help="For those who look at it later.")] = "",
    seconds: _Seconds = None,
) -> None:
    """Deal with a reported message."""

    async def work(client: Client, output: Output) -> None:
        done = await client.chat.resolve_report(
            conversation, version, _RESOLUTIONS[how], note=note, ban_seconds=seconds
        )
        output.message(done, f"{how.value}: {done.conversation_id} {done.message_version}")

    run(ctx, work)


@app.command()
def ban_user(
    ctx: typer.Context,
    user: str,
    seconds: _Seconds = None,
    reason: Annotated[str, typer.Option(help="Kept for those who moderate.")] = "",
) -> None:
    """Ban a user from all of the tenant's Chat."""

    async def work(client: Client, output: Output) -> None:
        banned = await client.chat.ban_user(user, seconds=seconds, reason=reason)
        output.message(banned, f"{user} is banned {_until(banned)}")

    run(ctx, work)


@app.command()
def unban_user(ctx: typer.Context, user: str) -> None:
    """Let a user do again what it may."""

    async def work(client: Client, output: Output) -> None:
        await client.chat.unban_user(user)
        output.line({"user_id": user}, f"{user} may again")

    run(ctx, work)


@app.command()
def banned_users(ctx: typer.Context, limit: Annotated[int, typer.Option(min=1)] = 500) -> None:
    """List who is banned from all of the tenant's Chat."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        async for each in client.chat.list_banned_users(page_size=min(limit, 500)):
            rows.append((plain(each), (each.user_id, _until(each), each.actor_id, each.reason)))
            if len(rows) == limit:
                break
        output.table(("user", "until", "by", "reason"), rows)

    run(ctx, work)


def _until(banned: moderation_pb2.BannedUser) -> str:
    if not banned.HasField("until"):
        return "for ever"
    return f"until {banned.until.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M:%S}"
