"""Answering a search: which conversations it is in, what the index finds in them, and what of that is true at this moment."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from typing import Final

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import search_service_pb2 as pb

from services.chat import commands, domain, pages, projections, reading, wire
from services.chat.access import Actor, actor_of, may_read, readable
from services.chat.contents import Contents
from services.chat.listings import PAGE_BYTES
from services.chat.search import query
from services.chat.search.asked import Feature, Query
from services.chat.search.index import Hit, Index, Order, PlaceUnknown
from services.chat.search.matching import highlights, matches
from services.chat.search.telling import sought
from services.ledger.ledger import Ledger
from services.runtime.call import Caller

DEFAULT_PAGE: Final = 20
MOST_CONVERSATIONS: Final = 10_000
"""Of a user, the newest by creation; older ones are searched when they are named."""
_ROWS_AT_ONCE: Final = 1000
_AT_ONCE: Final = 8
_ROUNDS: Final = 8
_LEAST_ASKED: Final = 10
_LOOKED_UP_AT_ONCE: Final = 25
_FEATURES: Final = {
    pb.MESSAGE_FEATURE_ATTACHMENT: Feature.ATTACHMENT,
    pb.MESSAGE_FEATURE_CARD: Feature.CARD,
    pb.MESSAGE_FEATURE_ORDER: Feature.ORDER,
    pb.MESSAGE_FEATURE_LINK: Feature.LINK,
    pb.MESSAGE_FEATURE_REACTION: Feature.REACTION,
}


class Finder:
    """Searches for callers."""

    def __init__(self, ledger: Ledger, contents: Contents, index: Index) -> None:
        """Ask ``index``, and check what it says with ``ledger``."""
        self._ledger, self._contents, self._index = ledger, contents, index

    async def find(self, request: pb.SearchMessagesRequest, caller: Caller) -> pb.SearchMessagesResponse:
        """Answer a search. Raises domain.Refused (INVALID_FIELD, INVALID_PAGE_TOKEN, FORBIDDEN, NOT_FOUND)."""
        actor = _searcher(caller, request.user_id)
        asked = _query(request)
        listing = ("search", actor.tenant, actor.user_id, _digest(request))
        place = pages.read(request.page_token, *listing) if request.page_token else ""
        scope = await self._scope(actor, asked)
        response = pb.SearchMessagesResponse()
        by_time = request.order == pb.SEARCH_ORDER_NEWEST_FIRST or not asked.terms
        wanted, size = request.page_size or DEFAULT_PAGE, 0
        for _ in range(_ROUNDS):
            limit = max(wanted - len(response.results), _LEAST_ASKED)
            try:
                hits = await self._index.search(
                    actor.tenant, asked, scope, Order.NEWEST if by_time else Order.RELEVANCE, place=place, limit=limit
                )
            except PlaceUnknown:
                raise pages.refused() from None
            for start in range(0, len(hits.hits), _LOOKED_UP_AT_ONCE):
                some = hits.hits[start : start + _LOOKED_UP_AT_ONCE]
                found = await self._found(actor, asked, some)
                for hit, result in zip(some, found, strict=True):
                    if result is not None:
                        size += result.ByteSize()
                        if len(response.results) == wanted or (response.results and size > PAGE_BYTES):
                            response.next_page_token = pages.make(place, *listing)
                            return response
                        response.results.append(result)
                    place = hit.place
            place = hits.place
            if not place:
                return response
            if len(response.results) == wanted:
                break
        response.next_page_token = pages.make(place, *listing)
        return response

    async def _scope(self, actor: Actor, asked: Query) -> Collection[str]:
        """Give the conversations that are searched. Raises domain.Refused (NOT_FOUND) where one is named that may not be read."""
        if asked.conversations:
            now = commands.now_us()
            for name in sorted(asked.conversations):
                await readable(self._ledger, actor, commands.aggregate_of(actor, name), now)
            return asked.conversations - asked.excluded_conversations
        found: dict[str, None] = {}
        where, after = projections.partition(actor.tenant, actor.user_id), None
        while len(found) < MOST_CONVERSATIONS:
            rows = await self._ledger.rows(
                projections.BY_USER, where, after=after, limit=_ROWS_AT_ONCE, descending=True
            )
            found.update((projections.conversation_id_of(row.key), None) for row in rows)
            if len(rows) < _ROWS_AT_ONCE:
                break
            after = rows[-1].key
        return [name for name in list(found)[:MOST_CONVERSATIONS] if name not in asked.excluded_conversations]

    async def _found(self, actor: Actor, asked: Query, hits: Sequence[Hit]) -> list[pb.FoundMessage | None]:
        """Look hits up; None where one is not, or not any more, what was asked for and may be read."""
        versions: dict[str, list[int]] = {}
        for hit in hits:
            versions.setdefault(hit.conversation_id, []).append(hit.version)
        room = asyncio.Semaphore(_AT_ONCE)
        shown = await asyncio.gather(*(self._shown(actor, name, each, room) for name, each in versions.items()))
        messages = dict(zip(versions, shown, strict=True))
        named = [(hit.conversation_id, messages[hit.conversation_id].get(hit.version)) for hit in hits]
        # Long texts take a while to read, and others wait for the loop.
        return await asyncio.to_thread(lambda: [_result(asked, name, message) for name, message in named])

    async def _shown(
        self, actor: Actor, conversation_id: str, versions: Sequence[int], room: asyncio.Semaphore
    ) -> dict[int, chat_pb2.Message]:
        """Show messages of a conversation as they are now; none where the actor may not read it."""
        aggregate = commands.aggregate_of(actor, conversation_id)
        async with room:
            state = (await self._ledger.read(aggregate)).state
            if not await may_read(self._ledger, actor, aggregate, state, commands.now_us()):
                return {}
            events = [
                event for v in sorted(versions) for event in await self._ledger.history(aggregate, after=v - 1, limit=1)
            ]
            shown = await reading.shown(self._ledger, self._contents, aggregate, actor.user_id, state, events)
        return {int(message.version): message for message in shown if not message.HasField("delete_time")}


def _result(asked: Query, conversation_id: str, message: chat_pb2.Message | None) -> pb.FoundMessage | None:
    if message is None or not matches(asked, sought(conversation_id, message)):
        return None
    spans = highlights(asked, message.content.text)
    ranges = [pb.TextRange(start=start, length=end - start) for start, end in spans]
    return pb.FoundMessage(conversation_id=conversation_id, message=message, highlights=ranges)


def _query(request: pb.SearchMessagesRequest) -> Query:
    return query.read(
        request.query,
        senders=request.sender_ids,
        conversations=request.conversation_ids,
        has=[_FEATURES[each] for each in request.has],
        phrases=request.phrases,
        excluded=request.excluded_phrases,
        since_us=wire.microseconds(request.sent_after) if request.HasField("sent_after") else None,
        until_us=wire.microseconds(request.sent_before) if request.HasField("sent_before") else None,
    )


def _searcher(caller: Caller, named: str) -> Actor:
    """Give in whose conversations is searched. Raises domain.Refused (FORBIDDEN)."""
    actor = actor_of(caller)
    if not named or named == actor.user_id:
        return actor
    if not actor.oversees:
        raise domain.Refused(
            "FORBIDDEN", "only roles admin and service search another's conversations", field="user_id"
        )
    return Actor(actor.tenant, named, actor.acting_service, actor.oversees, False)


def _digest(request: pb.SearchMessagesRequest) -> str:
    """Tell a request from others, apart from which page of it is asked for."""
    asked = pb.SearchMessagesRequest()
    asked.CopyFrom(request)
    asked.ClearField("page_token")
    asked.ClearField("page_size")
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()
