"""Commands for one's list of conversations, and what one sets for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, timedelta
from typing import Annotated

import typer

from tradewind.chat.v1 import chat_pb2, inbox_service_pb2
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()

_TITLE, _TEXT = 24, 60
"""So much of a title and of a text is shown on a line."""
_Set = Callable[[Client], Awaitable[inbox_service_pb2.InboxEntry]]


@app.command()
def inbox(
    ctx: typer.Context,
    watch: Annotated[bool, typer.Option(help="Show what changes, until Ctrl-C.")] = False,
    unread: Annotated[bool, typer.Option(help="Only with something unread.")] = False,
    archived: Annotated[bool | None, typer.Option(help="Only what you put aside, or only what you did not.")] = None,
    muted: Annotated[bool | None, typer.Option(help="Only what is muted, or only what is not.")] = None,
    hidden: Annotated[bool, typer.Option(help="What you hid, too.")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    count: Annotated[int | None, typer.Option(min=1, help="With --watch: end after so many changes.")] = None,
) -> None:
    """List your conversations, newest activity first."""
    if watch and (unread or hidden or archived is not None or muted is not None):
        raise typer.BadParameter("the list that is watched has no filters", param_hint="--watch")

    async def work(client: Client, output: Output) -> None:
        rows = []
        entries = client.chat.list_inbox(
            unread_only=unread, archived=archived, muted=muted, include_hidden=hidden, page_size=min(limit, 200)
        )
        async for entry in entries:
            rows.append((plain(entry), _cells(entry)))
            if len(rows) == limit:
                break
        output.table(("conversation", "title", "unread", "mentions", "set", "last", "said"), rows)

    async def follow(client: Client, output: Output) -> None:
        left = count
        async with aclosing(client.chat.watch_inbox(page_size=min(limit, 200))) as lists:
            async for told in lists:
                for entry in reversed(told.changed):
                    output.message(entry, "  ".join(filter(None, _cells(entry))))
                for conversation_id in told.removed_ids:
                    output.line({"removed_id": conversation_id}, f"{conversation_id}  is gone")
                for failure in told.failures:
                    output.message(failure, f"{failure.conversation_id}  cannot be read: {failure.error.message}")
                output.message(told.totals, _told(told.totals))
                if left is not None:
                    left -= 1
                    if not left:
                        return

    run(ctx, follow if watch else work)


@app.command("unread-totals")
def unread_totals(ctx: typer.Context) -> None:
    """Count what you have not read in all your conversations."""

    async def work(client: Client, output: Output) -> None:
        totals = await client.chat.get_unread_totals()
        output.message(totals, _told(totals))

    run(ctx, work)


@app.command()
def archive(ctx: typer.Context, conversation: str) -> None:
    """Put a conversation aside until the next message in it, or for as long as it is muted."""
    _set(ctx, lambda client: client.chat.archive_conversation(conversation))


@app.command()
def unarchive(ctx: typer.Context, conversation: str) -> None:
    """Take a conversation back."""
    _set(ctx, lambda client: client.chat.unarchive_conversation(conversation))


@app.command("mute-notifications")
def mute_notifications(
    ctx: typer.Context,
    conversation: str,
    seconds: Annotated[int | None, typer.Option(min=1, help="For how long; without it, for ever.")] = None,
) -> None:
    """Want no notifications of a conversation."""
    duration = timedelta(seconds=seconds) if seconds is not None else None
    _set(ctx, lambda client: client.chat.mute_notifications(conversation, duration))


@app.command("unmute-notifications")
def unmute_notifications(ctx: typer.Context, conversation: str) -> None:
    """Want them again."""
    _set(ctx, lambda client: client.chat.unmute_notifications(conversation))


@app.command()
def hide(ctx: typer.Context, conversation: str) -> None:
    """Take a conversation out of your list until the next message in it."""
    _set(ctx, lambda client: client.chat.hide_conversation(conversation))


@app.command()
def unhide(ctx: typer.Context, conversation: str) -> None:
    """Put a conversation into your list again."""
    _set(ctx, lambda client: client.chat.show_conversation(conversation))


@app.command("watch-receipts")
def watch_receipts(
    ctx: typer.Context,
    conversation: str,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many changes.")] = None,
) -> None:
    """Watch how far each member has got, until Ctrl-C."""

    async def work(client: Client, output: Output) -> None:
        left = count
        before: dict[str, tuple[int, int]] = {}
        async with aclosing(client.chat.watch_receipts(conversation)) as states:
            async for receipts in states:
                for user_id, receipt in receipts.items():
                    now = (receipt.read_version, receipt.delivered_version)
                    if before.get(user_id) != now:
                        output.message(receipt, f"{user_id}  read up to {now[0]}, delivered up to {now[1]}")
                        before[user_id] = now
                if left is not None:
                    left -= 1
                    if not left:
                        return

    run(ctx, work)


def _set(ctx: typer.Context, change: _Set) -> None:
    async def work(client: Client, output: Output) -> None:
        entry = await change(client)
        output.message(entry, f"{entry.conversation_id}  {_flags(entry) or 'nothing set'}")

    run(ctx, work)


def _cells(entry: inbox_service_pb2.InboxEntry) -> tuple[str, ...]:
    at = entry.activity_time.ToDatetime(UTC).astimezone()
    return (
        entry.conversation_id,
        _line(entry.title or entry.peer_id, _TITLE),
        str(entry.unread_count),
        str(entry.mention_count),
        _flags(entry),
        f"{at:%Y-%m-%d %H:%M}",
        _said(entry),
    )


def _said(entry: inbox_service_pb2.InboxEntry) -> str:
    if not entry.HasField("last_message"):
        return ""
    last = entry.last_message
    text = "(deleted)" if last.deleted else _line(last.text, _TEXT)
    parts = f" +{last.part_count}" if last.part_count else ""
    direct = entry.kind == chat_pb2.CONVERSATION_KIND_DIRECT and last.sender_id == entry.peer_id
    return text + parts if direct else f"{last.sender_id or '*'}: {text}{parts}"


def _line(text: str, most: int) -> str:
    whole = " ".join(text.split())
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def _flags(entry: inbox_service_pb2.InboxEntry) -> str:
    return " ".join(name for name in ("archived", "muted", "hidden") if getattr(entry, name))


def _told(totals: inbox_service_pb2.UnreadTotals) -> str:
    told = (
        f"{totals.unread_count} unread, {totals.mention_count} mentions, in {totals.conversation_count} conversations"
    )
    aside = totals.muted_unread_count + totals.archived_unread_count
    return f"{told}; {aside} more muted or archived" if aside else told
