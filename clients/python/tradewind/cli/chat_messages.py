"""Commands for what becomes of messages."""

from __future__ import annotations

from typing import Annotated

import typer

from tradewind.chat.v1 import chat_pb2
from tradewind.cli.chat_members import show
from tradewind.cli.output import Output
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()

_Message = Annotated[int, typer.Argument(min=1, metavar="VERSION", help="The message's version.")]


def shown_part(part: chat_pb2.Part) -> str:
    """Write what a message carries in a few words: of an attachment its name, and its id to download it by."""
    if not part.HasField("attachment"):
        return part.WhichOneof("part") or "part"
    attachment = part.attachment
    return f"{attachment.name or 'attachment'} {attachment.attachment_id or attachment.uri}"


def words(content: chat_pb2.MessageContent) -> str:
    """Give what was said, or that it is gone."""
    return "(erased)" if content.erased else content.text


def shown_message(message: chat_pb2.Message) -> str:
    """Write a message as a line for people."""
    text = "(deleted)" if message.HasField("delete_time") else words(message.content)
    notes = []
    if message.content.thread_root:
        notes.append(f"in thread {message.content.thread_root}")
    if message.content.HasField("forwarded"):
        notes.append(f"from {message.content.forwarded.sender_id}")
    if message.content.parts:
        notes.append(", ".join(shown_part(part) for part in message.content.parts))
    if message.edits:
        notes.append("edited")
    if message.pinned:
        notes.append("pinned")
    if message.HasField("thread"):
        notes.append(f"{message.thread.reply_count} in its thread")
    notes += [f"{reaction.emoji} {reaction.count}" for reaction in message.reactions]
    noted = f"  [{'; '.join(notes)}]" if notes else ""
    return f"{message.version:>6}  <{message.sender_id or '*'}> {text}{noted}"


def told_of_message(event: chat_pb2.ConversationEvent) -> str:
    """Write what became of a message; empty for all else."""
    which = event.WhichOneof("event")
    if which == "edited":
        return f"{event.edited.message_version} says now: {words(event.edited.content)}"
    if which == "deleted":
        return f"{event.deleted.message_version} was deleted"
    if which == "pinned":
        return f"{event.pinned.message_version} was pinned"
    if which == "unpinned":
        return f"{event.unpinned.message_version} is pinned no more"
    if which == "reaction_added":
        return f"{event.actor_id} gives {event.reaction_added.message_version} a {event.reaction_added.emoji}"
    if which == "reaction_removed":
        return (
            f"{event.actor_id} takes back a {event.reaction_removed.emoji} of {event.reaction_removed.message_version}"
        )
    return ""


@app.command()
def edit(ctx: typer.Context, conversation: str, message: _Message, text: str) -> None:
    """Say something else in place of what you said."""

    async def work(client: Client, output: Output) -> None:
        version = await client.chat.edit_message(conversation, message, text)
        output.line({"version": version}, f"version {version}")

    run(ctx, work)


@app.command()
def edits(ctx: typer.Context, conversation: str, message: _Message) -> None:
    """List what a message said, oldest first."""

    async def work(client: Client, output: Output) -> None:
        for wording in await client.chat.list_message_edits(conversation, message):
            output.message(wording, f"{wording.time.ToJsonString()}  {wording.content.text}")

    run(ctx, work)


@app.command()
def delete(
    ctx: typer.Context,
    conversation: str,
    message: _Message,
    for_me: Annotated[bool, typer.Option("--for-me", help="For you alone.")] = False,
) -> None:
    """Delete a message."""

    async def work(client: Client, output: Output) -> None:
        await client.chat.delete_message(conversation, message, for_me=for_me)
        output.line({"deleted": message}, "deleted")

    run(ctx, work)


@app.command()
def forward(ctx: typer.Context, conversation: str, message: _Message, to: str) -> None:
    """Say again in another conversation what was said."""

    async def work(client: Client, output: Output) -> None:
        answer = await client.chat.forward_message(conversation, message, to)
        output.message(answer, f"version {answer.version}")

    run(ctx, work)


@app.command()
def pin(ctx: typer.Context, conversation: str, message: _Message) -> None:
    """Pin a message."""

    async def work(client: Client, output: Output) -> None:
        show(output, await client.chat.pin_message(conversation, message))

    run(ctx, work)


@app.command()
def unpin(ctx: typer.Context, conversation: str, message: _Message) -> None:
    """Pin a message no more."""

    async def work(client: Client, output: Output) -> None:
        show(output, await client.chat.unpin_message(conversation, message))

    run(ctx, work)


@app.command()
def react(
    ctx: typer.Context,
    conversation: str,
    message: _Message,
    emoji: str,
    remove: Annotated[bool, typer.Option("--remove", help="Take it back.")] = False,
) -> None:
    """Give a message an emoji."""

    async def work(client: Client, output: Output) -> None:
        call = client.chat.remove_reaction if remove else client.chat.add_reaction
        await call(conversation, message, emoji)
        output.line(
            {"message_version": message, "emoji": emoji, "removed": remove}, "taken back" if remove else "given"
        )

    run(ctx, work)


@app.command()
def reactions(ctx: typer.Context, conversation: str, message: _Message) -> None:
    """List who gave a message which emoji."""

    async def work(client: Client, output: Output) -> None:
        async for given in client.chat.list_reactions(conversation, message, page_size=500):
            output.message(given, f"{given.emoji}  {given.user_id}")

    run(ctx, work)
