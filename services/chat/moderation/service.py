"""The rpcs of moderation. Each turns its request into a command or a question, asks the ledger, and shows the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2, moderation_pb2
from tradewind.chat.v1 import moderation_service_pb2 as pb

from services.chat import commands, domain, marks, pages
from services.chat.access import Actor, actor_of, readable
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.listings import DEFAULT_PAGE
from services.chat.lookups import Lookups
from services.chat.moderation import projections, queue, wire
from services.chat.moderation.bans import MOST_BANS, Bans
from services.chat.moderation.domain import reports, standing
from services.chat.moderation.notes import Notes
from services.chat.moderation.resolving import Resolving
from services.chat.whispers import Whispers
from services.ledger.decider import Receipt
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call

_SCANNED: Final = 4
"""Pages of bans that are read for a page of those that last."""


class ModerationService:
    """Handlers of ``tradewind.chat.v1.ModerationService``; their contract is in ``moderation_service.proto``."""

    def __init__(
        self, ledger: Ledger, settings: ChatSettings, whispers: Whispers, contents: Contents, bans: Bans
    ) -> None:
        """Keep order in the conversations that ``ledger`` holds."""
        self._ledger = ledger
        self._settings = settings
        self._whispers = whispers
        self._contents = contents
        self._bans = bans
        self._lookups = Lookups(ledger)
        self._notes = Notes(contents)
        self.resolving = Resolving(ledger, bans, self._notes)

    # --- reports ----------------------------------------------------------------------------------

    async def ReportMessage(self, request: pb.ReportMessageRequest, call: Call) -> pb.ReportMessageResponse:
        """Take a report."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        sender, refusal = "", None
        try:
            sender = await self._reportable(aggregate, request.message_version, actor, now)
        except domain.Refused as refused:
            refusal = refused
        report = projections.report_of(actor.tenant, request.conversation_id, request.message_version)
        words = b""
        if request.text and refusal is None:
            said = chat_pb2.MessageContent(text=request.text).SerializeToString()
            words = await self._contents.sealed(report, actor.user_id, said)
        command = reports.Report(now, actor.user_id, actor.acting_service, request.reason, words, sender, refusal)
        await self._execute(report, command, request, actor, call)
        await self._whispers.say(actor.tenant, queue.TOPIC, report.id.encode())
        return pb.ReportMessageResponse()

    async def _reportable(self, conversation: AggregateId, version: int, actor: Actor, at_us: int) -> str:
        """Give who sent a message that the actor may report. Raises domain.Refused (NOT_FOUND, NO_SUCH_MESSAGE)."""
        await readable(self._ledger, actor, conversation, at_us)
        target = await self._lookups.target(conversation, version)
        if target is None or target.sender in ("", actor.user_id):
            raise domain.no_such_message(version)
        if (await marks.mark(self._ledger, conversation, version)).deleted:
            raise domain.no_such_message(version)
        return target.sender

    async def ListReports(self, request: pb.ListReportsRequest, call: Call) -> pb.ListReportsResponse:
        """List the review queue, or what was dealt with."""
        response = await queue.listed(self._ledger, self._contents, request, actor_of(call.caller))
        await self._notes.show_reports(call.caller.tenant, response.reports)
        return response

    async def ResolveReport(self, request: pb.ResolveReportRequest, call: Call) -> pb.ResolveReportResponse:
        """Deal with a reported message."""
        actor, now = actor_of(call.caller), commands.now_us()
        report = projections.report_of(actor.tenant, request.conversation_id, request.message_version)
        resolution = reports.Resolution(request.resolution)
        until_us = _end(request.ban_duration, now) if request.HasField("ban_duration") else 0
        words = await self._notes.sealed(report, request.note)
        command = reports.Resolve(now, actor.user_id, actor.acting_service, resolution, words, until_us)
        receipt = await self._execute(report, command, request, actor, call)
        for payload in receipt.payloads:
            await self.resolving.done(report, payload, call.traceparent)
        await self._whispers.say(actor.tenant, queue.TOPIC, report.id.encode())
        state = (await self._ledger.read_at(report, receipt.last_version)).state
        response = pb.ResolveReportResponse(report=wire.reported(report.id, state))
        await self._notes.show_reports(actor.tenant, [response.report])
        return response

    def WatchReports(self, _request: pb.WatchReportsRequest, call: Call) -> AsyncIterator[pb.WatchReportsResponse]:
        """Stream the review queue."""
        return queue.watched(self._ledger, self._notes, self._whispers, call, self._settings)

    # --- bans -------------------------------------------------------------------------------------

    async def BanUser(self, request: pb.BanUserRequest, call: Call) -> pb.BanUserResponse:
        """Ban a user from all of the tenant."""
        actor, now = actor_of(call.caller), commands.now_us()
        refusal = None
        if await self._bans.count(actor.tenant) >= MOST_BANS:
            refusal = domain.Refused(
                "SANCTIONS_LIMIT", f"at most {MOST_BANS} bans last at a time", metadata={"limit": str(MOST_BANS)}
            )
        until_us = _end(request.duration, now) if request.HasField("duration") else 0
        whom = projections.standing_of(actor.tenant, request.user_id)
        before: standing.UserBanned | None = (await self._ledger.read(whom)).state.ban
        words = await self._notes.sealed(whom, request.reason, before.words if before is not None else "")
        command = standing.BanUser(now, actor.user_id, actor.acting_service, request.user_id, until_us, words, refusal)
        receipt = await self._execute(whom, command, request, actor, call)
        await self._bans.changed(actor.tenant)
        if receipt.payloads:
            view = await self._ledger.read_at(whom, receipt.last_version)
        else:
            view = await self._ledger.read(whom)
        ban = view.state.ban
        if ban is None:
            return pb.BanUserResponse()
        response = pb.BanUserResponse(banned_user=wire.banned_user(whom.id, ban))
        await self._notes.show_bans(actor.tenant, [response.banned_user])
        return response

    async def UnbanUser(self, request: pb.UnbanUserRequest, call: Call) -> pb.UnbanUserResponse:
        """Let a user do again what it may."""
        actor = actor_of(call.caller)
        command = standing.UnbanUser(commands.now_us(), actor.user_id, actor.acting_service)
        whom = projections.standing_of(actor.tenant, request.user_id)
        await self._execute(whom, command, request, actor, call)
        await self._bans.changed(actor.tenant)
        return pb.UnbanUserResponse()

    async def ListBannedUsers(self, request: pb.ListBannedUsersRequest, call: Call) -> pb.ListBannedUsersResponse:
        """List whose bans last."""
        tenant, now = call.caller.tenant, commands.now_us()
        listing = (projections.BANNED, tenant)
        after: str | None = None
        if request.page_token:
            after = _user_of(pages.read(request.page_token, *listing))
        wanted = request.page_size or DEFAULT_PAGE
        response = pb.ListBannedUsersResponse()
        for _ in range(_SCANNED):
            rows = await self._ledger.rows(projections.BANNED, tenant, after=after, limit=wanted)
            for row in rows:
                after = row.key
                shown = moderation_pb2.BannedUser.FromString(row.value or b"")
                if standing.lasts(wire.end_of(shown.until), now):
                    response.banned_users.append(shown)
                if len(response.banned_users) == wanted:
                    break
            if len(rows) < wanted or len(response.banned_users) == wanted:
                break
        if after is not None and (len(rows) == wanted or (rows and after != rows[-1].key)):
            response.next_page_token = pages.make(after.encode().hex(), *listing)
        await self._notes.show_bans(tenant, response.banned_users)
        return response

    async def _execute(
        self, aggregate: AggregateId, command: Any, request: Message, actor: Actor, call: Call
    ) -> Receipt:
        named = commands.named(request, actor, call.traceparent)
        return await self._ledger.execute(aggregate, command, named, timeout=call.remaining())


def _end(lasts: Duration, at_us: int) -> int:
    return at_us + lasts.seconds * 1_000_000 + lasts.nanos // 1000


def _user_of(position: str) -> str:
    """Read a user id out of a page's position. Raises domain.Refused (INVALID_PAGE_TOKEN)."""
    try:
        return bytes.fromhex(position).decode()
    except ValueError:
        raise pages.refused() from None
