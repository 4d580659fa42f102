"""Entries and totals of the inbox as answers show them."""

from __future__ import annotations

from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat import domain, wire
from services.chat.domain.inbox import Sums
from services.chat.domain.place import FOR_EVER
from services.chat.inbox.surveying import Counts, Gaps, Line
from services.chat.wire.events import KINDS
from services.runtime.errors import status_of


def entry(
    user_id: str, line: Line, state: domain.Conversation, counts: Counts, at_us: int, *, hid: bool
) -> pb.InboxEntry:
    """Show one conversation in a user's list, without its last message where the user ``hid`` that.

    Raises domain.Refused (NOT_FOUND) where none was ever created.
    """
    profile = state.profile
    if profile is None:
        raise domain.not_found()
    tip, flags = line.tip, line.flags
    shown = pb.InboxEntry(
        conversation_id=line.conversation.id,
        kind=KINDS[profile.kind],
        title=profile.title,
        picture=profile.picture,
        member_count=len(profile.members),
        version=tip.version,
        last_message=tip.shown(at_us) if not hid else None,
        activity_time=wire.timestamp(tip.said_us),
        unread_count=counts.unread,
        mention_count=counts.mentions,
        read_version=counts.read_version,
        archived=line.archived(at_us),
        muted=line.muted(at_us),
        hidden=line.hidden(),
    )
    if profile.kind is domain.Kind.DIRECT:
        shown.peer_id = next((member for member in profile.members if member != user_id), "")
    if shown.muted and flags.muted_until_us != FOR_EVER:
        shown.muted_until.CopyFrom(wire.timestamp(flags.muted_until_us))
    return shown


def failures(gaps: Gaps) -> list[pb.InboxFailure]:
    """Show which conversations cannot be read, and why."""
    return [
        pb.InboxFailure(conversation_id=conversation_id, error=status_of(gap)) for conversation_id, gap in gaps.items()
    ]


def totals(sums: Sums) -> pb.UnreadTotals:
    """Show what is unread in all."""
    return pb.UnreadTotals(
        unread_count=sums.unread,
        mention_count=sums.mentions,
        conversation_count=sums.conversations,
        muted_unread_count=sums.muted_unread,
        muted_mention_count=sums.muted_mentions,
        archived_unread_count=sums.archived_unread,
        archived_mention_count=sums.archived_mentions,
    )
