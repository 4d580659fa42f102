"""Pages of a conversation's messages: all of them, a thread, the pinned ones. Bounded by number, by bytes and by what is read for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, marks, pages, wire
from services.chat.access import Actor, readable
from services.chat.contents import Contents
from services.chat.listings import DEFAULT_PAGE, PAGE_BYTES
from services.ledger.decider import Recorded
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

_HISTORY_READS: Final = 8
_AT_ONCE: Final = 8


async def messages(
    ledger: Ledger, contents: Contents, request: pb.ListMessagesRequest, actor: Actor
) -> pb.ListMessagesResponse:
    """Page through a conversation's messages. Raises domain.Refused (NOT_FOUND, INVALID_PAGE_TOKEN, INVALID_FIELD)."""
    aggregate = commands.aggregate_of(actor, request.conversation_id)
    state = await readable(ledger, actor, aggregate, commands.now_us())
    if request.pinned_only and request.thread_root:
        raise domain.Refused("INVALID_FIELD", "either a thread or what is pinned", field="pinned_only")
    newest, up = state.version, request.oldest_first
    which = "pins" if request.pinned_only else f"thread-{request.thread_root}" if request.thread_root else ""
    listing = ("messages", actor.tenant, request.conversation_id, "up" if up else "down", which)
    if request.page_token:
        place = pages.read_version(request.page_token, *listing)
    elif request.HasField("from_time"):
        if request.from_version:
            raise domain.Refused("INVALID_FIELD", "either from a version or from a time", field="from_time")
        first = await first_since(ledger, aggregate, newest, wire.microseconds(request.from_time))
        place = first - 1 if up else first
    elif request.from_version:
        place = request.from_version
    else:
        place = 0 if up else newest + 1
    # A version from outside may be any number; none beyond the newest says more than that.
    place = min(place, newest if up else newest + 1)
    reader = _Reader(ledger, aggregate, place, up, newest)
    wanted = request.page_size or DEFAULT_PAGE
    if request.pinned_only:
        events = await reader.picked(_beyond(_pins(state), place, up), wanted)
    elif request.thread_root:
        events = await reader.thread(request.thread_root, wanted)
    else:
        events = await reader.read(wanted)
    response = pb.ListMessagesResponse(messages=await shown(ledger, contents, aggregate, actor.user_id, state, events))
    if not reader.at_end:
        response.next_page_token = pages.make(str(reader.place), *listing)
    return response


async def first_since(ledger: Ledger, aggregate: AggregateId, newest: int, at_us: int) -> int:
    """Find the first version of a time or later, one more than the newest where there is none; events happened in their order."""
    low, high = 1, newest + 1
    while low < high:
        middle = (low + high) // 2
        page = await ledger.history(aggregate, after=middle - 1, limit=1)
        if page and wire.time_of(page[0].payload) < at_us:
            low = middle + 1
        else:
            high = middle
    return low


async def shown(
    ledger: Ledger,
    contents: Contents,
    aggregate: AggregateId,
    user_id: str,
    state: domain.Conversation,
    events: Sequence[Recorded],
) -> list[chat_pb2.Message]:
    """Show messages as they are now, without those that the user deleted for itself."""
    found = [message for event in events if (message := wire.message(event.payload)) is not None]
    if not found:
        return found
    versions = [message.version for message in found]
    first, last = min(versions), max(versions)
    became = await marks.marks(ledger, aggregate, versions if _sparse(versions) else range(first, last + 1))
    hidden = await marks.hidden(ledger, aggregate, user_id, first, last)
    reacts = any(mark.reactions for mark in became.values())
    own = await marks.own_reactions(ledger, aggregate, user_id, first, last) if reacts else set()
    pins, now = frozenset(_pins(state)), commands.now_us()
    for message in found:
        mark = became.get(message.version)
        if mark is not None:
            mark.apply(message)
        marks.end(message, now)
        message.pinned = message.version in pins
        for reaction in message.reactions:
            reaction.mine = (message.version, reaction.emoji) in own
    found = [message for message in found if message.version not in hidden]
    await contents.open(aggregate, [(message.content, message.sender_id) for message in found])
    return found


def _sparse(versions: Sequence[int]) -> bool:
    """Tell whether it is cheaper to look for each by itself than for all that lies between."""
    return max(versions) - min(versions) > 16 * len(versions)


def _pins(state: domain.Conversation) -> Sequence[int]:
    return state.profile.pins if state.profile is not None else ()


def _beyond(versions: Iterable[int], place: int, up: bool) -> list[int]:
    return sorted((v for v in versions if (v > place if up else v < place)), reverse=not up)


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

    async def read(self, wanted: int) -> list[Recorded]:
        """Give the next messages; fewer than wanted at the end, when the page is big, or where there is little but membership."""
        found: list[Recorded] = []
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
                self.place = recorded.version
                if wire.said(recorded.payload) is not None:
                    found.append(recorded)
                    size += len(recorded.payload)
        return found

    async def thread(self, root: int, wanted: int) -> list[Recorded]:
        """Give the next messages of a thread."""
        after = marks.key(root, self.place) + ("~" if self._up else "")
        where = marks.partition(self._aggregate)
        rows = await self._ledger.rows(marks.THREADS, where, after=after, limit=wanted + 1, descending=not self._up)
        prefix = marks.key(root)
        versions = [int(row.key[16:], 16) for row in rows if row.key.startswith(prefix)]
        return await self.picked(versions, wanted)

    async def picked(self, versions: Sequence[int], wanted: int) -> list[Recorded]:
        """Give the messages of some versions, in their order."""
        found: list[Recorded] = []
        size = 0
        for start in range(0, min(len(versions), wanted), _AT_ONCE):
            chunk = versions[start : min(start + _AT_ONCE, wanted)]
            pages_ = await asyncio.gather(
                *(self._ledger.history(self._aggregate, after=version - 1, limit=1) for version in chunk)
            )
            for recorded in (event for page in pages_ for event in page):
                if found and size + len(recorded.payload) > PAGE_BYTES:
                    return found
                self.place = recorded.version
                found.append(recorded)
                size += len(recorded.payload)
        if len(versions) <= wanted:
            self.place = self._newest if self._up else 1
        return found


async def reactions(ledger: Ledger, request: pb.ListReactionsRequest, actor: Actor) -> pb.ListReactionsResponse:
    """List who gave a message which emoji. Raises domain.Refused (NOT_FOUND, INVALID_PAGE_TOKEN)."""
    aggregate = commands.aggregate_of(actor, request.conversation_id)
    state = await readable(ledger, actor, aggregate, commands.now_us())
    version = min(request.message_version, state.version + 1)
    listing = ("reactions", actor.tenant, request.conversation_id, str(version))
    prefix = marks.key(version)
    after = prefix
    if request.page_token:
        try:
            after = bytes.fromhex(pages.read(request.page_token, *listing)).decode()
        except ValueError:
            raise pages.refused() from None
    wanted = request.page_size or DEFAULT_PAGE
    rows = await ledger.rows(marks.REACTIONS, marks.partition(aggregate), after=after, limit=wanted + 1)
    given = [row.key for row in rows if row.key.startswith(prefix)]
    response = pb.ListReactionsResponse()
    for key in given[:wanted]:
        emoji, _, user_id = key[16:].partition("/")
        response.reactions.add(emoji=emoji, user_id=user_id)
    if len(given) > wanted:
        response.next_page_token = pages.make(given[wanted - 1].encode().hex(), *listing)
    return response
