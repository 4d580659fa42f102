"""Commands for invitations, and for what is said later."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from tradewind.chat.v1 import chat_pb2, invitation_service_pb2, schedule_service_pb2
from tradewind.cli.output import Output, plain
from tradewind.cli.running import run
from tradewind.sdk import Client

app = typer.Typer()


class InvitedRole(StrEnum):
    """What who joins by an invitation becomes."""

    MEMBER = "member"
    READER = "reader"


def told_of_time(event: chat_pb2.ConversationEvent) -> str:
    """Write what happened to invitations and to messages that did not last; empty for all else."""
    which = event.WhichOneof("event")
    if which == "invitation_created":
        return f"{event.actor_id} made an invitation"
    if which == "invitation_revoked":
        return f"{event.actor_id} took an invitation back"
    if which == "invitation_used":
        return f"{event.actor_id} comes by an invitation"
    if which == "messages_expired":
        gone = ", ".join(str(each.message_version) for each in event.messages_expired.messages)
        return f"gone: {gone}" if gone else "nothing is gone"
    return ""


@app.command()
def invite(
    ctx: typer.Context,
    conversation: str,
    role: Annotated[InvitedRole, typer.Option(help="What who joins becomes.")] = InvitedRole.MEMBER,
    seconds: Annotated[int | None, typer.Option(min=1, help="How long it can be used; for ever without it.")] = None,
    uses: Annotated[int, typer.Option(min=0, help="How many can join by it; 0: any number.")] = 0,
) -> None:
    """Make an invitation. Its token is shown here and never again."""
    wanted = chat_pb2.MemberRole.Value(f"MEMBER_ROLE_{role.name}")

    async def work(client: Client, output: Output) -> None:
        made = await client.chat.create_invitation(conversation, role=wanted, expire_after=seconds, max_uses=uses)
        output.message(made, made.token)

    run(ctx, work)


@app.command()
def invitations(ctx: typer.Context, conversation: str) -> None:
    """List a conversation's invitations, without what opens them."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        for each in await client.chat.list_invitations(conversation):
            state = invitation_service_pb2.InvitationState.Name(each.state).removeprefix("INVITATION_STATE_").lower()
            uses = f"{each.uses}/{each.max_uses}" if each.max_uses else str(each.uses)
            until = _shown(each.expire_time.ToDatetime(UTC)) if each.HasField("expire_time") else ""
            rows.append((plain(each), (each.invitation_id, each.creator_id, state, uses, until)))
        output.table(("invitation", "made by", "state", "uses", "until"), rows)

    run(ctx, work)


@app.command("revoke-invitation")
def revoke_invitation(ctx: typer.Context, conversation: str, invitation: str) -> None:
    """Take an invitation back."""

    async def work(client: Client, output: Output) -> None:
        output.message(await client.chat.revoke_invitation(conversation, invitation), "revoked")

    run(ctx, work)


@app.command()
def invitation(ctx: typer.Context, token: str) -> None:
    """Show what an invitation is to."""

    async def work(client: Client, output: Output) -> None:
        found = await client.chat.get_invitation(token)
        output.message(found, f"{found.title or found.conversation_id}, {found.member_count} members")

    run(ctx, work)


@app.command()
def scheduled(
    ctx: typer.Context,
    conversation: Annotated[str, typer.Argument(help="Where; without it, everywhere.")] = "",
) -> None:
    """List what you will say, and what could not be said."""

    async def work(client: Client, output: Output) -> None:
        rows = []
        async for each in client.chat.list_scheduled_messages(conversation, page_size=100):
            state = schedule_service_pb2.ScheduledState.Name(each.state).removeprefix("SCHEDULED_STATE_").lower()
            at = _shown(each.send_time.ToDatetime(UTC))
            told = f"{state} {each.failure_reason}".rstrip()
            rows.append((plain(each), (each.scheduled_id, each.conversation_id, at, told, each.content.text)))
        output.table(("message", "conversation", "at", "state", "text"), rows)

    run(ctx, work)


@app.command("cancel-scheduled")
def cancel_scheduled(ctx: typer.Context, message: str) -> None:
    """Have a scheduled message not sent, or take a failed one off the list."""

    async def work(client: Client, output: Output) -> None:
        await client.chat.cancel_scheduled_message(message)
        output.line({"cancelled": message}, "cancelled")

    run(ctx, work)


@app.command("reschedule")
def reschedule(
    ctx: typer.Context,
    message: str,
    at: Annotated[datetime | None, typer.Option(help="Send it at this time (UTC).")] = None,
    text: Annotated[str | None, typer.Option(help="Say this instead.")] = None,
) -> None:
    """Have a scheduled message say something else, or be sent at another time."""

    async def work(client: Client, output: Output) -> None:
        changed = await client.chat.update_scheduled_message(
            message,
            content=chat_pb2.MessageContent(text=text) if text is not None else None,
            send_time=at.replace(tzinfo=UTC) if at is not None else None,
        )
        output.message(changed, changed.scheduled_id)

    run(ctx, work)


def _shown(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
