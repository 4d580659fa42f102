"""Commands for who is in a conversation, in which role, and what it is called."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tradewind.chat.v1 import chat_pb2
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()

_Users = Annotated[list[str], typer.Argument(help="Whom.")]
_Seconds = Annotated[int | None, typer.Option("--seconds", min=1, help="For how long; for ever without it.")]


class Role(StrEnum):
    """What a member may do."""

    OWNER = "owner"
    ADMIN = "admin"
    MODERATOR = "moderator"
    MEMBER = "member"
    READER = "reader"


def told_of_order(event: chat_pb2.ConversationEvent) -> str:
    """Write what happened to a member, or to how the conversation is set; empty for all else."""
    which = event.WhichOneof("event")
    if which == "changed":
        changed = [field.name for field, _ in event.changed.ListFields()]
        return f"{event.actor_id} changed {', '.join(changed)}"
    if which == "role_changed":
        return f"{event.role_changed.user_id} is {_role(event.role_changed.role)}"
    if which == "banned":
        return f"{event.banned.user_id} may not be here"
    if which == "unbanned":
        return f"{event.unbanned.user_id} may be here again"
    if which == "muted":
        return f"{event.muted.user_id} may not speak"
    if which == "unmuted":
        return f"{event.unmuted.user_id} may speak again"
    return ""


def _role(role: int) -> str:
    known = chat_pb2.MemberRole.DESCRIPTOR.values_by_number.get(role)
    return known.name.removeprefix("MEMBER_ROLE_").lower() if known is not None else str(role)


def show(output: Output, conversation: chat_pb2.Conversation) -> None:
    """Write a conversation as it stands."""
    members = ", ".join(
        f"{member.user_id} ({_role(member.role)}{', muted' if member.muted else ''})"
        for member in conversation.members[:50]
    )
    more = f" and {len(conversation.members) - 50} more" if len(conversation.members) > 50 else ""
    lines = [
        conversation.title or conversation.conversation_id,
        f"version {conversation.version}",
        f"members {members}{more}",
    ]
    if conversation.picture:
        lines.append(f"picture {conversation.picture}")
    if conversation.open:
        lines.append("open to all who know its id")
    if conversation.slow_mode_seconds:
        lines.append(f"slow: a message every {conversation.slow_mode_seconds} s")
    if conversation.message_ttl_seconds:
        lines.append(f"messages last {conversation.message_ttl_seconds} s")
    output.message(conversation, "\n".join(lines))


@app.command()
def update(
    ctx: typer.Context,
    conversation: str,
    title: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    picture: Annotated[str | None, typer.Option(help="Where its picture is.")] = None,
    open: Annotated[bool | None, typer.Option(help="Whether anybody who knows its id may join.")] = None,
    slow_mode: Annotated[
        int | None, typer.Option(min=0, help="Seconds between two messages of a member; 0: none.")
    ] = None,
    message_ttl: Annotated[
        int | None, typer.Option(min=0, help="Seconds that a message lasts from now on; 0: for ever.")
    ] = None,
) -> None:
    """Call or set a conversation otherwise."""

    async def work(client: Client, output: Output) -> None:
        show(
            output,
            await client.chat.update(
                conversation, title=title, picture=picture, open=open, slow_mode=slow_mode, message_ttl=message_ttl
            ),
        )

    run(ctx, work)


@app.command()
def join(
    ctx: typer.Context,
    conversation: Annotated[str, typer.Argument(help="An open one, by its id.")] = "",
    invitation: Annotated[str, typer.Option(metavar="TOKEN", help="Or what opens it.")] = "",
) -> None:
    """Join an open conversation, or the one that an invitation is to."""
    if bool(conversation) == bool(invitation):
        raise typer.BadParameter("either a conversation or an invitation", param_hint="CONVERSATION")

    async def work(client: Client, output: Output) -> None:
        if invitation:
            show(output, await client.chat.join_by_invitation(invitation))
        else:
            show(output, await client.chat.join(conversation))

    run(ctx, work)


@app.command()
def leave(ctx: typer.Context, conversation: str) -> None:
    """Leave a conversation."""

    async def work(client: Client, output: Output) -> None:
        await client.chat.leave(conversation)
        output.line({"left": conversation}, "left")

    run(ctx, work)


@app.command()
def add(ctx: typer.Context, conversation: str, users: _Users) -> None:
    """Add members."""

    async def work(client: Client, output: Output) -> None:
        show(output, await client.chat.add_members(conversation, users))

    run(ctx, work)


@app.command()
def remove(ctx: typer.Context, conversation: str, users: _Users) -> None:
    """Remove members."""

    async def work(client: Client, output: Output) -> None:
        show(output, await client.chat.remove_members(conversation, users))

    run(ctx, work)


@app.command()
def role(ctx: typer.Context, conversation: str, user: str, role: Role) -> None:
    """Give a member another role."""

    async def work(client: Client, output: Output) -> None:
        wanted = chat_pb2.MemberRole.Value(f"MEMBER_ROLE_{role.name}")
        show(output, await client.chat.set_role(conversation, user, wanted))

    run(ctx, work)


@app.command()
def ban(ctx: typer.Context, conversation: str, user: str, seconds: _Seconds = None) -> None:
    """Keep a user out."""

    async def work(client: Client, output: Output) -> None:
        show(output, await client.chat.ban_member(conversation, user, seconds=seconds))

    run(ctx, work)


@app.command()
def unban(ctx: typer.Context, conversation: str, user: str) -> None:
    """Let a user in again."""

    async def work(client: Client, output: Output) -> None:
        show(output, await client.chat.unban_member(conversation, user))

    run(ctx, work)


@app.command()
def bans(ctx: typer.Context, conversation: str) -> None:
    """List who may not be in a conversation."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        for each in await client.chat.list_bans(conversation):
            until = each.until.ToJsonString() if each.HasField("until") else "for ever"
            rows.append((plain(each), (each.user_id, until)))
        output.table(("user", "until"), rows)

    run(ctx, work)


@app.command()
def mute(ctx: typer.Context, conversation: str, user: str, seconds: _Seconds = None) -> None:
    """Take the word from a member."""

    async def work(client: Client, output: Output) -> None:
        show(output, await client.chat.mute_member(conversation, user, seconds=seconds))

    run(ctx, work)


@app.command()
def unmute(ctx: typer.Context, conversation: str, user: str) -> None:
    """Give the word back to a member."""

    async def work(client: Client, output: Output) -> None:
        show(output, await client.chat.unmute_member(conversation, user))

    run(ctx, work)
