"""The ends of conversations: what was said last, when, and what was said of late; shared by all who look at a conversation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, NamedTuple

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat import marks, wire
from services.chat.contents import Contents
from services.ledger.decider import Recorded
from services.ledger.errors import StoreUnavailable
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

PREVIEW_CHARACTERS: Final = 200
_BEYOND: Final = 1 << 62
"""No conversation gets that far."""
_FIRST_PAGE: Final = 8
_PAGE: Final = 128
_DEEPEST: Final = 2048
"""So many events are looked at for the last message; where none is among them, the oldest of them stands for it."""
_RECENT: Final = 32
_KEPT: Final = 20_000
_TRIES: Final = 8
_WAIT: Final = 0.002
"""Seconds, doubled with each try: half a second in all."""
_TRUSTED_SECONDS: Final = 30.0
"""So long an end is believed without looking at what became of its message: a text must not outlive its erasure here."""
_CHANGE_COUNTS: Final = frozenset({"deleted", "messages_expired", "members_added", "members_removed", "created"})


class News(NamedTuple):
    """A message of late: what counts about it."""

    version: int
    sender: str
    mentions: tuple[str, ...]
    to_all: bool


@dataclass(frozen=True, slots=True)
class Tip:
    """The end of a conversation.

    Attributes:
        version: of its last event.
        said_version: of its last message; 0 where nothing was said.
        said_us: when that was sent, or what stands for it; µs since the Unix epoch.
        preview: the message; None where there is none.
        person: whose words they are: who sent it, or said first what was forwarded.
        recent: messages above version ``floor``, oldest first, all of them.
        disturbed: version of the last event by which what is unread changes otherwise than by a message.
        read_at: monotonic time at which the message was read.
        ends_us: when the message is gone for everybody, µs since the Unix epoch; 0 where it lasts.
    """

    version: int
    said_version: int
    said_us: int
    preview: pb.MessagePreview | None
    person: str
    recent: tuple[News, ...]
    floor: int
    disturbed: int
    read_at: float
    ends_us: int = 0

    def shown(self, at_us: int) -> pb.MessagePreview | None:
        """Give the message as it is at a time: one whose time is over is as one that was deleted, whether that was told yet or not."""
        if self.preview is None or not self.ends_us or at_us < self.ends_us:
            return self.preview
        return _deleted(self.preview)


class Tips:
    """Reads the ends of conversations, and remembers the newest of them."""

    def __init__(self, ledger: Ledger, contents: Contents) -> None:
        """Read what ``ledger`` holds, texts by ``contents``."""
        self._ledger = ledger
        self._contents = contents
        self._known: dict[AggregateId, Tip] = {}
        self._under_way: dict[AggregateId, asyncio.Task[Tip]] = {}

    async def at(self, conversation: AggregateId, version: int) -> Tip:
        """Give the end of a conversation, at a version or later. Raises LedgerError."""
        for turn in range(_TRIES):
            known = self._known.get(conversation)
            if known is not None and known.version >= version and not _aged(known):
                return known
            found = await self.now(conversation)
            if found.version >= version:
                return found
            await asyncio.sleep(_WAIT * 2**turn)
        raise StoreUnavailable("the store does not show yet what it was said to hold")

    async def now(self, conversation: AggregateId) -> Tip:
        """Give the end of a conversation as the store has it now; those who ask at the same time share the look. Raises LedgerError."""
        task = self._under_way.get(conversation)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read(conversation))
            self._under_way[conversation] = task
            task.add_done_callback(lambda done: self._done(conversation, done))
        return await asyncio.shield(task)

    async def version(self, conversation: AggregateId) -> int:
        """Give the version of a conversation as the store has it now. Raises LedgerError."""
        return (await self.now(conversation)).version

    def forget(self, tenant: str, person: str) -> list[AggregateId]:
        """Forget a person's words, as they were erased; gives the conversations that end with them."""
        forgotten = [
            conversation
            for conversation, tip in self._known.items()
            if conversation.tenant == tenant and tip.person == person
        ]
        for conversation in forgotten:
            del self._known[conversation]
        for conversation in [each for each in self._under_way if each.tenant == tenant]:
            # It may have read before the words were erased: it counts for those who wait already, and is not kept.
            del self._under_way[conversation]
        return forgotten

    def _done(self, conversation: AggregateId, task: asyncio.Task[Tip]) -> None:
        current = self._under_way.get(conversation) is task
        if current:
            del self._under_way[conversation]
        if task.cancelled() or task.exception() is not None or not current:
            return  # whoever asked was told
        self._known.pop(conversation, None)
        self._known[conversation] = task.result()
        if len(self._known) > _KEPT:
            for oldest in list(islice(self._known, _KEPT // 4)):
                del self._known[oldest]

    async def _read(self, conversation: AggregateId) -> Tip:
        known = self._known.get(conversation)
        page = await self._ledger.history(conversation, before=_BEYOND, limit=_FIRST_PAGE)
        if known is not None and not _aged(known):
            if not page or page[0].version <= known.version:
                return known
            fresh = [each for each in reversed(page) if each.version > known.version]
            if _FIRST_PAGE < page[0].version - known.version <= _PAGE:
                fresh = await self._ledger.history(conversation, after=known.version, limit=_PAGE)
            if fresh[0].version == known.version + 1:
                return await self._follow(conversation, known, fresh)
        return await self._anew(conversation, page)

    async def _anew(self, conversation: AggregateId, page: Sequence[Recorded]) -> Tip:
        events = list(page)
        while events and len(events) < _DEEPEST and not any(map(_says, events)) and events[-1].version > 1:
            events += await self._ledger.history(conversation, before=events[-1].version, limit=_PAGE)
        events.reverse()
        floor = events[0].version - 1 if events else 0
        nothing = Tip(
            0, 0, wire.time_of(events[0].payload) if events else 0, None, "", (), floor, floor, time.monotonic()
        )
        tip = await self._follow(conversation, nothing, events)
        if tip.said_version:
            # It may have been changed by what is not among these.
            mark = await marks.mark(self._ledger, conversation, tip.said_version)
            tip = await self._changed(conversation, tip, mark.edited, deleted=bool(mark.deleted))
        return tip

    async def _follow(self, conversation: AggregateId, tip: Tip, fresh: Sequence[Recorded]) -> Tip:
        """Give the end after events, oldest first, that follow what ``tip`` covers."""
        said, edited, deleted = b"", b"", False
        version, said_version, said_us, disturbed = tip.version, tip.said_version, tip.said_us, tip.disturbed
        recent, ends_us = list(tip.recent), tip.ends_us
        for each in fresh:
            event = chat_pb2.ConversationEvent.FromString(each.payload)
            version, which = each.version, event.WhichOneof("event")
            if which in ("message", "system_message"):
                said, said_version, edited, deleted = each.payload, version, b"", False
                said_us, ends_us = wire.microseconds(event.event_time), wire.microseconds(event.expire_time)
                if which == "message":
                    names, to_all = wire.mentioned(event.message)
                    recent.append(News(version, event.actor_id, (*names, *wire.here(event.message)), to_all))
            elif which == "edited" and event.edited.message_version == said_version:
                edited = each.payload
            elif which == "deleted" and event.deleted.message_version == said_version:
                deleted = True
            elif which == "messages_expired":
                gone = (each.message_version for each in event.messages_expired.messages)
                deleted = deleted or said_version in gone
            if which in _CHANGE_COUNTS:
                disturbed = version
        floor = tip.floor
        if len(recent) > _RECENT:
            floor = recent[-_RECENT - 1].version
            recent = recent[-_RECENT:]
        preview, person = tip.preview, tip.person
        if said:
            preview, person = await self._preview(conversation, said, said_version)
        news = tuple(recent)
        after = Tip(version, said_version, said_us, preview, person, news, floor, disturbed, tip.read_at, ends_us)
        return await self._changed(conversation, after, edited, deleted=deleted)

    async def _preview(self, conversation: AggregateId, payload: bytes, version: int) -> tuple[pb.MessagePreview, str]:
        (event,) = await self._contents.events(conversation.tenant, [payload], conversation)
        preview = pb.MessagePreview(version=version, sender_id=event.actor_id, send_time=event.event_time)
        if event.HasField("system_message"):
            preview.sender_id = ""
            preview.code = event.system_message.code
            preview.text = event.system_message.text[:PREVIEW_CHARACTERS]
        else:
            preview.thread_root = event.message.thread_root
            _show(event.message, preview)
        return preview, event.message.forwarded.sender_id or event.actor_id

    async def _changed(self, conversation: AggregateId, tip: Tip, edited: bytes, *, deleted: bool) -> Tip:
        if tip.preview is None or not (edited or deleted):
            return tip
        if deleted:
            return replace(tip, preview=_deleted(tip.preview))
        preview = pb.MessagePreview()
        preview.CopyFrom(tip.preview)
        if edited:
            (event,) = await self._contents.events(conversation.tenant, [edited], conversation)
            preview.edited = True
            _show(event.edited.content, preview)
        return replace(tip, preview=preview)


def _deleted(preview: pb.MessagePreview) -> pb.MessagePreview:
    gone = pb.MessagePreview()
    gone.CopyFrom(preview)
    gone.deleted, gone.text, gone.part_count, gone.erased = True, "", 0, False
    return gone


def _show(content: chat_pb2.MessageContent, preview: pb.MessagePreview) -> None:
    preview.text = content.text[:PREVIEW_CHARACTERS]
    preview.part_count = len(content.parts)
    preview.erased = content.erased


def _says(recorded: Recorded) -> bool:
    return wire.said(recorded.payload) is not None


def _aged(tip: Tip) -> bool:
    return time.monotonic() - tip.read_at > _TRUSTED_SECONDS
