"""Giving out all of a conversation, or of a person, as JSON Lines: read page by page, told chunk by chunk, each with the place after it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from google.protobuf.json_format import MessageToJson
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import privacy_service_pb2 as pb

from services.chat import commands, domain, pages, projections, receipts, wire
from services.chat.access import Actor, may_read, readable
from services.chat.contents import Contents
from services.chat.privacy.erasing import Part
from services.ledger.decider import Recorded
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.ledger.varint import field

FORMAT: Final = 1
CHUNK_BYTES: Final = 256 * 1024
_PAGE: Final = 64
_ROWS: Final = 100
_MOST: Final = 1 << 63
_ACTOR: Final = chat_pb2.ConversationEvent.ACTOR_ID_FIELD_NUMBER


@dataclass(frozen=True, slots=True)
class _Place:
    """How far an export is: things kept elsewhere, then conversations by their rows, in one up to a version. ``events``: so far."""

    items: int = 0
    table: int = 0
    key: str = ""
    after: int = 0
    until: int = 0
    events: int = 0


class _Chunks:
    """Gathers lines into chunks; each is given with the place after its last line."""

    def __init__(self, listing: tuple[str, ...]) -> None:
        self._listing = listing
        self._lines: list[bytes] = []
        self._size = 0

    def add(self, **what: Any) -> bool:
        """Add a line; tells whether it is enough for a chunk."""
        line = MessageToJson(pb.ExportLine(**what), indent=None, preserving_proto_field_name=True, ensure_ascii=False)
        self._lines.append(line.encode() + b"\n")
        self._size += len(self._lines[-1])
        return self._size >= CHUNK_BYTES

    def take(self, place: _Place | None) -> tuple[bytes, str]:
        """Give what was gathered, and the token that goes on after it; None: nothing does."""
        joined, self._lines, self._size = b"".join(self._lines), [], 0
        fields = [getattr(place, name) for name in _Place.__slots__] if place is not None else []
        return joined, pages.make(json.dumps(fields), *self._listing) if fields else ""


class Exporter:
    """Exports.

    Args:
        parts: what else keeps something of persons.
    """

    def __init__(self, ledger: Ledger, contents: Contents, parts: Sequence[Part]) -> None:
        """Export what ``ledger`` holds, readable by ``contents``."""
        self._ledger = ledger
        self._contents = contents
        self._parts = parts

    async def conversation(
        self, request: pb.ExportConversationRequest, actor: Actor
    ) -> AsyncIterator[pb.ExportConversationResponse]:
        """Give out a conversation. Raises domain.Refused (NOT_FOUND, FORBIDDEN, INVALID_PAGE_TOKEN)."""
        aggregate, now = commands.aggregate_of(actor, request.conversation_id), commands.now_us()
        state = await readable(self._ledger, actor, aggregate, now)
        export = domain.Permission.EXPORT
        if not (actor.oversees or domain.is_member(state, actor.user_id)):
            raise domain.lacking(export, domain.Role.READER)  # of a channel: nobody else may read it
        domain.require(state, actor.user_id, export, oversees=actor.oversees)
        listing = ("export", actor.tenant, request.conversation_id)
        chunks = _Chunks(listing)
        if request.resume_token:
            place = _read(request.resume_token, listing)
        else:
            place = _Place(until=state.version)
            shown = wire.conversation(aggregate.id, state, now)
            chunks.add(header=_header(actor.tenant, now, conversation=shown))
        async for reached, is_full in self._events(aggregate, place, None, chunks):
            place = reached
            if is_full:
                lines, token = chunks.take(place)
                yield pb.ExportConversationResponse(json_lines=lines, resume_token=token)
        chunks.add(end=pb.ExportEnd(events=place.events, version=place.until))
        lines, token = chunks.take(None)
        yield pb.ExportConversationResponse(json_lines=lines, resume_token=token)

    async def person(self, request: pb.ExportPersonRequest, actor: Actor) -> AsyncIterator[pb.ExportPersonResponse]:
        """Give out a person. Raises domain.Refused (FORBIDDEN, INVALID_PAGE_TOKEN)."""
        user_id = request.user_id or actor.user_id
        if user_id != actor.user_id and not actor.oversees:
            raise domain.Refused("FORBIDDEN", "only roles admin and service export others", field="user_id")
        listing = ("export-person", actor.tenant, user_id)
        chunks = _Chunks(listing)
        place = _read(request.resume_token, listing) if request.resume_token else _Place()
        if not request.resume_token:
            chunks.add(header=_header(actor.tenant, commands.now_us(), user_id=user_id))
        async for reached, is_full in self._person(actor, user_id, place, chunks):
            place = reached
            if is_full:
                lines, token = chunks.take(place)
                yield pb.ExportPersonResponse(json_lines=lines, resume_token=token)
        chunks.add(end=pb.ExportEnd(events=place.events))
        lines, token = chunks.take(None)
        yield pb.ExportPersonResponse(json_lines=lines, resume_token=token)

    async def _person(
        self, actor: Actor, user_id: str, place: _Place, chunks: _Chunks
    ) -> AsyncIterator[tuple[_Place, bool]]:
        """Add a person's lines from a place on; gives the place after each, and whether they are enough for a chunk."""
        if not place.key and not place.table:
            async for reached, is_full in self._items(actor.tenant, user_id, place, chunks):
                place = reached
                yield place, is_full
        elif place.after < place.until:
            where = commands.aggregate_of(actor, projections.conversation_id_of(place.key))
            async for reached, is_full in self._events(where, place, user_id, chunks):
                place = reached
                yield place, is_full
        for table in range(place.table, len(_TABLES)):
            place = replace(place, table=table, key=place.key if table == place.table else "")
            async for key in self._conversations(actor.tenant, user_id, table, place.key):
                where = commands.aggregate_of(actor, projections.conversation_id_of(key))
                state: domain.Conversation = (await self._ledger.read(where)).state
                chunks.add(membership=await self._membership(actor.tenant, where, user_id, state))
                place = replace(place, key=key, after=0, until=state.version)
                async for reached, is_full in self._events(where, place, user_id, chunks):
                    place = reached
                    yield place, is_full
        yield place, False

    async def _items(
        self, tenant: str, user_id: str, place: _Place, chunks: _Chunks
    ) -> AsyncIterator[tuple[_Place, bool]]:
        passed = 0
        for part in self._parts:
            if part.export is None:
                continue
            async for found in part.export(tenant, user_id):
                passed += 1
                if passed > place.items:
                    place = replace(place, items=passed)
                    yield place, chunks.add(item=found)

    async def _conversations(self, tenant: str, user_id: str, table: int, after: str) -> AsyncIterator[str]:
        """Give the rows of all conversations that a person was ever in, and then those that only older releases listed."""
        where = projections.partition(tenant, user_id)
        place = after or None
        while page := await self._ledger.rows(_TABLES[table], where, after=place, limit=_ROWS):
            for row in page:
                known = row.key.removesuffix("~")
                if not table or await self._ledger.row(_TABLES[0], where, known) is None:
                    yield row.key
            place = page[-1].key

    async def _membership(
        self, tenant: str, where: AggregateId, user_id: str, state: domain.Conversation
    ) -> pb.ExportedMembership:
        found = pb.ExportedMembership(conversation_id=where.id)
        alone = Actor(tenant, user_id, "", False, False)
        if state.profile is not None and await may_read(self._ledger, alone, where, state, commands.now_us()):
            # Who was removed is told what it did there, and nothing of what became of the conversation.
            shown = wire.conversation(where.id, state, commands.now_us())
            found.kind, found.title = shown.kind, shown.title
            for member in shown.members:
                if member.user_id == user_id:
                    found.member.CopyFrom(member)
        read = await receipts.read_base(self._ledger, where, user_id)
        found.read_version = read.version if read is not None else 0
        found.delivered_version = await receipts.delivered(self._ledger, where, user_id)
        return found

    async def _events(
        self, where: AggregateId, place: _Place, user_id: str | None, chunks: _Chunks
    ) -> AsyncIterator[tuple[_Place, bool]]:
        """Add a conversation's events from a place on, all or those that a person did."""
        mark = field(_ACTOR, user_id.encode()) if user_id is not None else b""
        while place.after < place.until:
            page = await self._ledger.history(where, after=place.after, limit=min(_PAGE, place.until - place.after))
            if not page:
                break
            for event in await self._readable(where, [each for each in page if mark in each.payload]):
                if user_id is None or event.actor_id == user_id:
                    is_full = chunks.add(event=pb.ExportedEvent(conversation_id=where.id, event=event))
                    place = replace(place, after=event.version, events=place.events + 1)
                    yield place, is_full
            place = replace(place, after=page[-1].version)
            yield place, False

    async def _readable(self, where: AggregateId, found: Sequence[Recorded]) -> list[chat_pb2.ConversationEvent]:
        return await self._contents.events(where.tenant, [each.payload for each in found], where)


_TABLES: Final = (projections.EVER, projections.BY_USER)


def _header(tenant: str, at_us: int, **of: Any) -> pb.ExportHeader:
    return pb.ExportHeader(format=FORMAT, export_time=wire.timestamp(at_us), tenant=tenant, **of)


def _read(token: str, listing: tuple[str, ...]) -> _Place:
    """Read a place out of a token. Raises domain.Refused (INVALID_PAGE_TOKEN)."""
    try:
        items, table, key, after, until, events = json.loads(pages.read(token, *listing))
    except (ValueError, TypeError, RecursionError):
        raise pages.refused() from None
    numbers = (items, table, after, until, events)
    if not all(type(each) is int and 0 <= each < _MOST for each in numbers):
        raise pages.refused()
    if table >= len(_TABLES) or not isinstance(key, str):
        raise pages.refused()
    return _Place(items, table, key, after, until, events)
