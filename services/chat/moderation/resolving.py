"""What a decision about a reported message leads to: the message deleted, or its author banned.

Done by whoever decided, before it is answered; and once more by a consumer of the log, so that it is done also where that process died in
between. Each is named after the decision, so the second time changes nothing.
"""

from __future__ import annotations

from typing import Final

from tradewind.chat.v1 import moderation_pb2

from services.chat import domain
from services.chat.commands import KIND, now_us
from services.chat.lookups import Lookups
from services.chat.moderation import projections, wire
from services.chat.moderation.bans import Bans
from services.chat.moderation.domain import reports, standing
from services.chat.moderation.notes import Notes
from services.ledger.decider import Delivered, Request
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger

ROLE: Final = "chat-moderation"
SOURCE: Final = "chat"


class Resolving:
    """Does what was decided."""

    def __init__(self, ledger: Ledger, bans: Bans, notes: Notes) -> None:
        """Write into ``ledger``."""
        self._ledger = ledger
        self._notes = notes
        self._lookups = Lookups(ledger)
        self._bans = bans

    def start(self) -> None:
        """Begin to consume Chat's own log for decisions, durably and with all other Chat processes together."""
        self._ledger.consume(role=ROLE, handle=self.handle, source=SOURCE, kind=projections.REPORT)

    async def handle(self, delivered: Delivered) -> None:
        """Take one stored entry. Raises what the ledger refuses; the entry then comes again."""
        if delivered.aggregate.kind != projections.REPORT:
            return
        for recorded in delivered.events:
            await self.done(delivered.aggregate, recorded.payload, delivered.traceparent)

    async def done(self, report: AggregateId, payload: bytes, traceparent: str | None) -> None:
        """Do what an event of a message's reports leads to; again changes nothing. Raises LedgerError."""
        event = moderation_pb2.ReportEvent.FromString(payload)
        if event.resolved.resolution == moderation_pb2.REPORT_RESOLUTION_REMOVED:
            await self._remove(report, event, traceparent)
        elif event.resolved.resolution == moderation_pb2.REPORT_RESOLUTION_AUTHOR_BANNED:
            await self._ban(report, event, traceparent)

    async def _remove(self, report: AggregateId, event: moderation_pb2.ReportEvent, traceparent: str | None) -> None:
        conversation_id, _, version = report.id.rpartition("/")
        aggregate = AggregateId(report.tenant, KIND, conversation_id)
        target = await self._lookups.target(aggregate, int(version))
        if target is None:
            return
        named = _named(report, event, "remove", traceparent)
        at_us = wire.time_of(event)

        async def work(known: domain.Known) -> None:
            command = domain.DeleteMessage(
                at_us,
                event.actor_id,
                target,
                known,
                oversees=True,
                acting_service=event.acting_service,
                moderates=True,
            )
            await self._ledger.execute(aggregate, command, named)

        await self._lookups.informed(aggregate, (target.version, target.thread_root), work)

    async def _ban(self, report: AggregateId, event: moderation_pb2.ReportEvent, traceparent: str | None) -> None:
        state: reports.Reports = (await self._ledger.read(report)).state
        whom = projections.standing_of(report.tenant, state.sender)
        words = await self._notes.sealed(whom, await self._notes.note_of(report, event.resolved))
        command = standing.BanUser(
            now_us(),  # and not when it was decided: processes look for bans that are new
            event.actor_id,
            event.acting_service,
            state.sender,
            wire.end_of(event.resolved.until),
            words,
        )
        if state.sender == event.actor_id:
            return  # refused before; nobody bans itself
        await self._ledger.execute(whom, command, _named(report, event, "ban", traceparent))
        # Also where it was done before: whoever did so may be another, and this process answers that it is in force.
        await self._bans.changed(report.tenant)


def _named(report: AggregateId, event: moderation_pb2.ReportEvent, what: str, traceparent: str | None) -> Request:
    name = derive_request_id(wire.time_of(event), report.key, str(event.version), what)
    return Request(name, fingerprint(what, report.key, event.version), traceparent)
