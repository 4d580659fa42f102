"""The review queue: reported messages in pages, and live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from tradewind.chat.v1 import moderation_pb2
from tradewind.chat.v1 import moderation_service_pb2 as pb

from services.chat import commands, domain, pages, reading
from services.chat.access import Actor, actor_of
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.listings import DEFAULT_PAGE, PAGE_BYTES
from services.chat.moderation import projections, wire
from services.chat.moderation.notes import Notes
from services.chat.watch import going_away
from services.chat.whispers import Whispers
from services.ledger.archive import Row
from services.ledger.ids import AggregateId, fingerprint
from services.ledger.ledger import Ledger
from services.runtime.call import Call

TOPIC: Final = "reports"
_LOOK_EVERY: Final = 20.0
_MOST_CHANGED: Final = 1_000
_PAGE: Final = 100
_LATEST: Final = 10
_MOST_SENT: Final = 10_000
"""Messages that a stream gives at a time: those that wait longest."""


async def listed(
    ledger: Ledger, contents: Contents, request: pb.ListReportsRequest, actor: Actor
) -> pb.ListReportsResponse:
    """List reported messages, with the messages as they are now. Raises domain.Refused (INVALID_PAGE_TOKEN)."""
    table = projections.RESOLVED if request.resolved else projections.OPEN
    listing = (table, actor.tenant)
    after = pages.read(request.page_token, *listing) if request.page_token else None
    wanted = request.page_size or DEFAULT_PAGE
    rows = await ledger.rows(table, actor.tenant, after=after, limit=wanted + 1, descending=request.resolved)
    response, size = pb.ListReportsResponse(), 0
    for row in rows[:wanted]:
        shown = moderation_pb2.ReportedMessage.FromString(row.value or b"")
        await _show_message(ledger, contents, actor, shown)
        await _show_latest(ledger, contents, actor, shown)
        size += shown.ByteSize()
        if response.reports and size > PAGE_BYTES:
            break
        response.reports.append(shown)
    done = len(response.reports)
    if done < len(rows):
        response.next_page_token = pages.make(rows[done - 1].key, *listing)
    return response


async def _show_message(
    ledger: Ledger, contents: Contents, actor: Actor, shown: moderation_pb2.ReportedMessage
) -> None:
    aggregate = commands.aggregate_of(actor, shown.conversation_id)
    state: domain.Conversation = (await ledger.read(aggregate, fresh=False)).state
    page = await ledger.history(aggregate, after=shown.message_version - 1, limit=1)
    for message in await reading.shown(ledger, contents, aggregate, actor.user_id, state, page):
        shown.message.CopyFrom(message)


async def _show_latest(ledger: Ledger, contents: Contents, actor: Actor, shown: moderation_pb2.ReportedMessage) -> None:
    """Add what the latest reports say, which stands in their history alone."""
    report = projections.report_of(actor.tenant, shown.conversation_id, shown.message_version)
    newest = (await ledger.read(report, fresh=False)).version
    said: list[moderation_pb2.ReportEvent] = []
    for recorded in await ledger.history(report, before=newest + 1, limit=_LATEST + 1):
        event = moderation_pb2.ReportEvent.FromString(recorded.payload)
        if event.HasField("reported") and len(said) < _LATEST:
            said.append(event)
        elif said:
            break  # how it was dealt with before
    await contents.open(report, [(event.reported.content, event.actor_id) for event in said])
    for event in said:
        told = event.reported
        shown.latest.add(reporter_id=event.actor_id, reason=told.reason, text=told.content.text, time=event.event_time)


class Changes:
    """What of a tenant's queue changed, for one stream; what does not fit any more asks for a look at all."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.flag = asyncio.Event()
        self._names: dict[str, None] = {}
        self._overflown = False

    def hear(self, name: bytes) -> None:
        """Note the reports of a message."""
        if len(self._names) < _MOST_CHANGED:
            self._names[name.decode(errors="replace")] = None
        else:
            self._overflown = True
        self.flag.set()

    def take(self) -> tuple[list[str], bool]:
        """Give what changed, and whether there was more than that."""
        names, overflown = list(self._names), self._overflown
        self._names, self._overflown = {}, False
        self.flag.clear()
        return names, overflown


async def watched(
    ledger: Ledger, notes: Notes, whispers: Whispers, call: Call, settings: ChatSettings
) -> AsyncIterator[pb.WatchReportsResponse]:
    """Stream the queue: all that waits, then what changes; all of it again from time to time, for a whisper may be lost."""
    tenant = actor_of(call.caller).tenant
    changes = Changes()
    listener = await whispers.listen(tenant, TOPIC, changes.hear)
    draining = asyncio.create_task(call.draining.wait())
    draining.add_done_callback(lambda _: changes.flag.set())
    window = _Window(ledger, tenant)
    try:
        caught_up = False
        names: list[str] = []
        look_at_all = True
        while not call.draining.is_set():
            async for reports in window.all() if look_at_all else window.news(names):
                frame = pb.WatchReportsResponse(reports=reports)
                await notes.show_reports(tenant, frame.reports)
                yield frame
            if not caught_up:
                caught_up = True
                yield pb.WatchReportsResponse(caught_up=True, more=window.is_full)
            timed_out = True
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await changes.flag.wait()
                    timed_out = False
            names, overflown = changes.take()
            look_at_all = timed_out or overflown
        yield pb.WatchReportsResponse(going_away=going_away(settings))
    finally:
        draining.cancel()
        await whispers.leave(listener)


class _Sent(NamedTuple):
    """What a stream was given of a message: since when it waits, and a digest of how it then stood."""

    opened_us: int
    digest: bytes


class _Window:
    """What one stream is given of a tenant's queue: what waits longest, up to an edge; what is behind it comes as that is dealt with."""

    def __init__(self, ledger: Ledger, tenant: str) -> None:
        """Begin with nothing."""
        self._ledger, self._tenant = ledger, tenant
        self._sent: dict[str, _Sent] = {}
        self._edge: str | None = None

    @property
    def is_full(self) -> bool:
        """Whether more may wait than is given."""
        return self._edge is not None

    async def all(self) -> AsyncIterator[list[moderation_pb2.ReportedMessage]]:
        """Give what waits and was not given as it stands; and what does not wait any more, as it was decided."""
        waiting: set[str] = set()
        after: str | None = None
        while len(waiting) < _MOST_SENT:
            rows = await self._ledger.rows(projections.OPEN, self._tenant, after=after, limit=_PAGE)
            waiting.update(row.key[17:] for row in rows)
            reports = self._given(rows)
            if reports:
                yield reports
            after = rows[-1].key if len(rows) == _PAGE else None
            if after is None:
                break
        self._edge = after
        gone = [name for name in self._sent if name not in waiting]
        for start in range(0, len(gone), _PAGE):
            some = gone[start : start + _PAGE]
            within = [name for name in some if self._is_within(name, self._sent[name].opened_us)]
            for name in set(some) - set(within):
                del self._sent[name]  # it waits behind the edge now, and comes again
            reports = [each async for each in self._changed(within)]
            if reports:
                yield reports

    async def news(self, names: Iterable[str]) -> AsyncIterator[list[moderation_pb2.ReportedMessage]]:
        """Give messages that changed as they stand, where they are within; and what comes in for those that went."""
        reports = [each async for each in self._changed(names)]
        if reports:
            yield reports
        while self._edge is not None and len(self._sent) < _MOST_SENT:
            room = min(_PAGE, _MOST_SENT - len(self._sent))
            rows = await self._ledger.rows(projections.OPEN, self._tenant, after=self._edge, limit=room)
            reports = self._given(rows)
            if reports:
                yield reports
            self._edge = rows[-1].key if len(rows) == room else None

    def _is_within(self, name: str, opened_us: int) -> bool:
        return self._edge is None or projections.key(opened_us, name) <= self._edge

    def _given(self, rows: Sequence[Row]) -> list[moderation_pb2.ReportedMessage]:
        """Give those of some rows that are news."""
        found = []
        for row in rows:
            value = row.value or b""
            if self._is_news(row.key[17:], int(row.key[:16], 16), value):
                found.append(moderation_pb2.ReportedMessage.FromString(value))
        return found

    async def _changed(self, names: Iterable[str]) -> AsyncIterator[moderation_pb2.ReportedMessage]:
        for name in names:
            state = (await self._ledger.read(AggregateId(self._tenant, projections.REPORT, name))).state
            if not state.reporters or not self._is_within(name, state.opened_us):
                continue
            shown = wire.reported(name, state)
            if self._is_news(name, state.opened_us, shown.SerializeToString()):
                yield shown
            if state.resolved is not None:
                self._sent.pop(name, None)

    def _is_news(self, name: str, opened_us: int, shown: bytes) -> bool:
        digest = fingerprint(shown)
        known = self._sent.get(name)
        self._sent[name] = _Sent(opened_us, digest)
        return known is None or known.digest != digest
