"""Pages of a user's conversations by activity, and what is unread in all of them."""

from __future__ import annotations

from typing import Final

from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat import commands, domain, pages
from services.chat.access import Actor
from services.chat.domain.inbox import Sums
from services.chat.inbox import showing
from services.chat.inbox.surveying import Counts, Gaps, Line, Surveys
from services.ledger.ids import AggregateId

DEFAULT_PAGE: Final = 50


def token_after(actor: Actor, request: pb.ListInboxRequest, place: str) -> str:
    """Make the token that goes on after a place in a listing."""
    return pages.make(place, *_listing(actor, request))


async def page(surveys: Surveys, request: pb.ListInboxRequest, actor: Actor) -> pb.ListInboxResponse:
    """List a page. Raises domain.Refused (INVALID_PAGE_TOKEN), LedgerError."""
    after = pages.read(request.page_token, *_listing(actor, request)) if request.page_token else None
    wanted, now = request.page_size or DEFAULT_PAGE, commands.now_us()
    gaps: Gaps = {}
    lines = [
        line
        for line in await surveys.lines(actor, gaps)
        if (after is None or line.place < after) and _wanted(line, request, now)
    ]
    cursors = await surveys.cursors(actor)
    response = pb.ListInboxResponse()
    start = 0
    while start < len(lines):
        # Those without anything unread, or just left, are passed over; so it may take more than one turn.
        chunk = lines[start : start + wanted - len(response.entries)]
        start += len(chunk)

        async def show(line: Line) -> pb.InboxEntry | None:
            counts = await surveys.counts(actor, line, cursors.get(line.conversation.id, 0))
            if request.unread_only and not counts.unread:
                return None
            return await shown(surveys, actor, line, counts, now)

        response.entries.extend(each for each in await surveys.each_line(chunk, gaps, show) if each is not None)
        if len(response.entries) == wanted and start < len(lines):
            response.next_page_token = token_after(actor, request, lines[start - 1].place)
            break
    if after is None:
        response.failures.extend(showing.failures(gaps))
    return response


async def shown(surveys: Surveys, actor: Actor, line: Line, counts: Counts, at_us: int) -> pb.InboxEntry | None:
    """Show a line; None where the user has no place there any more. Raises LedgerError."""
    state = await surveys.standing(actor, line.conversation)
    if state is None:
        return None
    return showing.entry(actor.user_id, line, state, counts, at_us, hid=await surveys.hid(actor, line))


async def totals(surveys: Surveys, actor: Actor) -> pb.UnreadTotals:
    """Count what is unread in all of a user's conversations. Raises LedgerError."""
    sums, now, cursors = Sums(), commands.now_us(), await surveys.cursors(actor)
    gaps: Gaps = {}

    async def count(line: Line) -> None:
        counts = await surveys.counts(actor, line, cursors.get(line.conversation.id, 0))
        if counts.unread and await surveys.standing(actor, line.conversation, fresh=False) is not None:
            sums.add(counts.unread, counts.mentions, archived=line.archived(now), muted=line.muted(now))

    await surveys.each_line(await surveys.lines(actor, gaps), gaps, count)
    return showing.totals(sums)


async def one(surveys: Surveys, actor: Actor, conversation: AggregateId) -> pb.InboxEntry:
    """Show one conversation of a user. Raises domain.Refused (NOT_FOUND), LedgerError."""
    state = await surveys.standing(actor, conversation)
    if state is None:
        raise domain.not_found()
    tip = await surveys.tips.at(conversation, state.version)
    line = Line(conversation, tip, await surveys.flags_of(actor, conversation.id))
    counts = await surveys.counted(actor, conversation, state)
    return showing.entry(actor.user_id, line, state, counts, commands.now_us(), hid=await surveys.hid(actor, line))


def _wanted(line: Line, request: pb.ListInboxRequest, at_us: int) -> bool:
    if line.hidden() and not request.include_hidden:
        return False
    return _passes(request.archived, has=line.archived(at_us)) and _passes(request.muted, has=line.muted(at_us))


def _passes(wanted: int, *, has: bool) -> bool:
    return wanted == pb.FLAG_FILTER_UNSPECIFIED or has == (wanted == pb.FLAG_FILTER_ONLY)


def _listing(actor: Actor, request: pb.ListInboxRequest) -> tuple[str, ...]:
    filters = (request.unread_only, request.archived, request.muted, request.include_hidden)
    return ("inbox", actor.tenant, actor.user_id, *map(str, filters))
