"""Pages: of a user's conversations and of a conversation's messages. Bounded by number, by bytes and by what is read for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, pages, projections, wire
from services.chat.access import Actor, readable
from services.ledger.archive import Row
from services.ledger.ids import AggregateId
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
        shows = domain.is_member(state, actor.user_id)
        if projections.is_readers(row.key):
            # A reader who came to speak too is shown once; one who is kept out, not at all.
            shows = not shows and state.profile is not None and not domain.lasts(state.profile.bans, actor.user_id, now)
        return wire.conversation(conversation_id, state, now) if shows else None

    return await asyncio.gather(*map(show, rows))


async def messages(ledger: Ledger, request: pb.ListMessagesRequest, actor: Actor) -> pb.ListMessagesResponse:
    """Page through a conversation's messages. Raises domain.Refused (NOT_FOUND, INVALID_PAGE_TOKEN)."""
    aggregate = commands.aggregate_of(actor, request.conversation_id)
    newest = (await readable(ledger, actor, aggregate, commands.now_us())).version
    listing = ("messages", actor.tenant, request.conversation_id, "up" if request.oldest_first else "down")
    if request.page_token:
        place = pages.read_version(request.page_token, *listing)
    elif request.from_version:
        place = request.from_version
    else:
        place = 0 if request.oldest_first else newest + 1
    # A version from outside may be any number; none beyond the newest says more than that.
    place = min(place, newest if request.oldest_first else newest + 1)
    reader = _Reader(ledger, aggregate, place, request.oldest_first, newest)
    response = pb.ListMessagesResponse()
    response.messages.extend(await reader.read(request.page_size or DEFAULT_PAGE))
    if not reader.at_end:
        response.next_page_token = pages.make(str(reader.place), *listing)
    return response


class _Reader:
    """Walks along a conversation in one direction and picks its messages."""

    def __init__(self, ledger: Ledger, aggregate: AggregateId, place: int, up: bool, newest: int) -> None:
        """Start beyond version ``place``, which is not included."""
        self.place = place
        self._ledger = ledger
        self._aggregate = aggregate
        self._up = up
        self._newest = newest

    @property
    def at_end(self) -> bool:
        """Tell whether nothing lies beyond the place, as far as was known when the page was asked for."""
        return self.place >= self._newest if self._up else self.place <= 1

    async def read(self, wanted: int) -> list[chat_pb2.Message]:
        """Give the next messages; fewer than wanted at the end, when the page is big, or where there is little but membership."""
        found: list[chat_pb2.Message] = []
        size = 0
        for _ in range(_HISTORY_READS):
            if self.at_end or len(found) >= wanted:
                break
            limit = wanted - len(found)
            if self._up:
                page = await self._ledger.history(self._aggregate, after=self.place, limit=limit)
            else:
                page = await self._ledger.history(self._aggregate, before=self.place, limit=limit)
            if not page:
                break
            for recorded in page:
                if found and size + len(recorded.payload) > PAGE_BYTES:
                    return found
                shown = wire.message(recorded.payload)
                self.place = recorded.version
                if shown is not None:
                    found.append(shown)
                    size += len(recorded.payload)
        return found


def bans(state: domain.Conversation, actor: Actor, at_us: int) -> pb.ListBansResponse:
    """List who may not be in a conversation. Raises domain.Refused (NOT_FOUND, FORBIDDEN, WRONG_CONVERSATION_KIND)."""
    profile = domain.require(state, actor.user_id, domain.Permission.BAN_MEMBERS, oversees=actor.oversees)
    lasting = {
        user_id: until_us for user_id, until_us in profile.bans.items() if domain.lasts(profile.bans, user_id, at_us)
    }
    return pb.ListBansResponse(bans=[wire.ban(user_id, until_us) for user_id, until_us in lasting.items()])
