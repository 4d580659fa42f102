"""Commands for files."""

from __future__ import annotations

import re
from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer

from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()
_NO_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069<>:"|?*]')
_Conversation = Annotated[str, typer.Option("--conversation", help="Where you have it from; finds it at once.")]


def safe_name(name: str) -> str:
    """Give a file name in this folder for what somebody else called a file."""
    last = re.split(r"[/\\\\]", name)[-1]
    return _NO_NAME.sub("", last).strip(". ")[:150] or "attachment"


@app.command()
def attach(
    ctx: typer.Context,
    conversation: str,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    text: Annotated[str, typer.Option(help="What to say with it.")] = "",
    name: Annotated[str, typer.Option(help="What to call it; without this, as the file.")] = "",
    thread: Annotated[int, typer.Option(min=0, help="Version of the message whose thread it is said in.")] = 0,
    request_id: Annotated[
        str | None, typer.Option(help="UUIDv7 of this upload; the same again goes on where it was broken off.")
    ] = None,
) -> None:
    """Upload a file and send it."""

    async def work(client: Client, output: Output) -> None:
        with output.progress() as show:
            info = await client.chat.upload(
                conversation,
                file,
                name=name,
                request_id=request_id,
                progress=lambda done, total: show("upload", done, total),
            )
        answer = await client.chat.send_message(
            conversation, text, parts=[client.chat.attachment(info)], thread_root=thread
        )
        fields = {**plain(answer), "attachment_id": info.attachment_id, "media_type": info.media_type}
        output.line(fields, f"version {answer.version}, attachment {info.attachment_id} ({info.media_type})")

    run(ctx, work)


@app.command()
def download(
    ctx: typer.Context,
    attachment: str,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; without this, as its sender called it.")
    ] = None,
    conversation: _Conversation = "",
) -> None:
    """Download an attachment; what an earlier try left is not fetched again."""

    async def work(client: Client, output: Output) -> None:
        path = out
        if path is None:
            info = await client.chat.get_attachment(attachment, conversation_id=conversation)
            path = Path(safe_name(info.name))
            if path.exists():
                raise ValueError(f"{path} is there already; say with -o where to write")
        with output.progress() as show:
            info = await client.chat.download_to(
                attachment,
                path,
                conversation_id=conversation,
                progress=lambda done, total: show("download", done, total),
            )
        output.line({**plain(info), "file": str(path)}, f"{path}: {info.size_bytes} bytes, {info.media_type}")

    run(ctx, work)


@app.command()
def link(
    ctx: typer.Context,
    attachment: str,
    thumbnail: Annotated[int, typer.Option(min=0, help="To the thumbnail of this size.")] = 0,
    conversation: _Conversation = "",
) -> None:
    """Make a link to an attachment, which anybody can use until it expires."""

    async def work(client: Client, output: Output) -> None:
        made = await client.chat.download_link(attachment, conversation_id=conversation, thumbnail=thumbnail)
        output.message(made, f"{made.uri}\nuntil {made.expire_time.ToDatetime(UTC):%Y-%m-%d %H:%M} UTC")

    run(ctx, work)


@app.command()
def attachments(ctx: typer.Context, limit: Annotated[int, typer.Option(min=1)] = 50) -> None:
    """List what you uploaded, newest first."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        async for each in client.chat.list_attachments(page_size=min(limit, 200)):
            cells = (each.attachment_id, each.name, each.media_type or "uploading", str(each.size_bytes))
            rows.append((plain(each), cells))
            if len(rows) == limit:
                break
        output.table(("attachment", "name", "type", "bytes"), rows)

    run(ctx, work)
