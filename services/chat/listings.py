"""Pages: of a user's conversations and of a conversation's messages. Bounded by number, by bytes and by what is read for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, pages, projections, wire
from services.chat.access import Actor
from services.ledger.archive import Row
from services.ledger.ledger import Ledger

DEFAULT_PAGE: Final = 50
PAGE_BYTES: Final = 1024 * 1024
"""A page ends early once it holds so much: clients take 4 MiB by default."""
_READS_AT_ONCE: Final = 8
_HISTORY_READS: Final = 8


async def conversations(
    ledger: Ledger, request: pb.ListConversationsRequest, actor: Actor
) -> pb.ListConversationsResponse:
    """List the conversations that ``actor`` is in, newest first by creation. Raises domain.Refused (INVALID_PAGE_TOKEN)."""
    listing = ("conversations", actor.tenant, actor.user_id)
    after = pages.read(request.page_token, *listing) if request.page_token else None
    wanted = request.page_size or DEFAULT_PAGE
    where = projections.partition(actor.tenant, actor.user_id)
    rows = await ledger.rows(projections.BY_USER, where, after=after, limit=wanted + 1, descending=True)
    response = pb.ListConversationsResponse()
    last, size = "", 0
    for start in range(0, min(len(rows), wanted), _READS_AT_ONCE):
        chunk = rows[start : min(start + _READS_AT_ONCE, wanted)]
        for row, shown in zip(chunk, await _shown(ledger, actor, chunk), strict=True):
            size += shown.ByteSize() if shown else 0
            if last and size > PAGE_BYTES:
                response.next_page_token = pages.make(last, *listing)
                return response
            if shown:
                response.conversations.append(shown)
            last = row.key
    if len(rows) > wanted:
        response.next_page_token = pages.make(last, *listing)
    return response


async def _shown(ledger: Ledger, actor: Actor, rows: Sequence[Row]) -> list[chat_pb2.Conversation | None]:
    async def show(row: Row) -> chat_pb2.Conversation | None:
        conversation_id = projections.conversation_id_of(row.key)
        state = (await ledger.read(commands.aggregate_of(actor, conversation_id))).state
        now = commands.now_us()
        # The row may be older than a removal that is being written just now.
        is_shown = shows(state, row.key, actor.user_id, now)
        return wire.conversation(conversation_id, state, now) if is_shown else None

    return await asyncio.gather(*map(show, rows))


def shows(state: domain.Conversation, row_key: str, user_id: str, at_us: int) -> bool:
    """Tell whether a row of a user's list is to be shown."""
    is_member = domain.is_member(state, user_id)
    if not projections.is_readers(row_key):
        return is_member
    # A reader who came to speak too is shown once; one who is kept out, not at all.
    return not is_member and state.profile is not None and not domain.lasts(state.profile.bans, user_id, at_us)


def bans(state: domain.Conversation, actor: Actor, at_us: int) -> pb.ListBansResponse:
    """List who may not be in a conversation. Raises domain.Refused (NOT_FOUND, FORBIDDEN, WRONG_CONVERSATION_KIND)."""
    profile = domain.require(state, actor.user_id, domain.Permission.BAN_MEMBERS, oversees=actor.oversees)
    lasting = {
        user_id: until_us for user_id, until_us in profile.bans.items() if domain.lasts(profile.bans, user_id, at_us)
    }
    return pb.ListBansResponse(bans=[wire.ban(user_id, until_us) for user_id, until_us in lasting.items()])
