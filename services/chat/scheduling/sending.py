"""Sends what was scheduled, when it is due.

A wake-up may die between any two lines, and two may be under way for the same message, here or in another process. Each looks at what
stands: a message that waits is looked at, and marked; one that is marked is sent under a request id made of it, which the conversation
takes once, however often it comes; then what became of it is recorded. So it is sent once, and the record follows sooner or later.
"""

from __future__ import annotations

import math
from typing import Final

from tradewind.chat.v1 import chat_pb2, chat_service_pb2, message_hook_service_pb2

from services.chat import commands
from services.chat import domain as chat
from services.chat.access import Actor
from services.chat.messaging import Messaging
from services.chat.scheduling import domain, wire
from services.chat.wire import content_bytes
from services.ledger.decider import Delivered, Request
from services.ledger.errors import DeadlineExceeded, HistoryGap, RequestIdReused
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from services.runtime.telemetry import Telemetry

KIND: Final = "schedule"
ROLE: Final = "chat-schedules"
_MOST_STEPS: Final = 4 * domain.MAX_WAITING
"""A wake-up that has not come to rest after so many is put off, so that a defect cannot spin."""
_TRIES: Final = 8
_AGAIN_US: Final = 1_000_000
_OUTAGE: Final = "DEPENDENCY_UNAVAILABLE"
_LONGEST_US: Final = 600_000_000
_GONE: Final = "NO_SUCH_MESSAGE"
_OCCASION: Final = message_hook_service_pb2.MESSAGE_OCCASION_SCHEDULED


class NotNow(Exception):
    """What became of a step is not known: the timer comes again."""

    reason = "DEADLINE_EXCEEDED"
    retry_after = 1.0


def aggregate_of(actor: Actor) -> AggregateId:
    """Name an actor's scheduled messages."""
    return AggregateId(actor.tenant, KIND, actor.user_id)


def actor_for(aggregate: AggregateId, item: domain.Item) -> Actor:
    """Give who sends a message: its user, with what it may do by itself at that time, and nothing of what its token allowed."""
    return Actor(aggregate.tenant, aggregate.id, item.acting_service, False, False)


class Sending:
    """Carries scheduled messages to where they are said."""

    def __init__(self, ledger: Ledger, messaging: Messaging, telemetry: Telemetry) -> None:
        """Send by ``messaging`` what ``ledger`` holds."""
        self._ledger = ledger
        self._messaging = messaging
        self._telemetry = telemetry

    def start(self) -> None:
        """Begin to set timers for what is scheduled, together with all other Chat processes; due ones come by ``wake``."""
        self._ledger.consume(role=ROLE, handle=self.handle, kind=KIND)

    async def handle(self, delivered: Delivered) -> None:
        """Take one stored entry: set the timer that it asks for. Raises LedgerError; the entry then comes again."""
        if delivered.aggregate.kind == KIND and any(wire.sets_time(each.payload) for each in delivered.events):
            await self._ledger.read(delivered.aggregate, fresh=False, at_least=delivered.events[-1].version)
            # Another process may have set it for another time, which was changed back since.
            await self._ledger.arm(delivered.aggregate, anew=True)

    async def wake(self, aggregate: AggregateId, _timer: str) -> None:
        """Send what is due. Raises LedgerError, NotNow; the timer then comes again."""
        for _ in range(_MOST_STEPS):
            view = await self._ledger.read(aggregate)
            item = domain.due(view.state, commands.now_us())
            if item is None:
                break
            with self._telemetry.span("chat.send_scheduled", None) as span:
                span.set("chat.scheduled_status", item.status.value)
                try:
                    await self._step(aggregate, item, view.version, span.traceparent)
                except DeadlineExceeded as error:
                    raise NotNow from error
                except HistoryGap:
                    # Until an operator has restored its conversation it waits, and the user's other messages do not.
                    now = commands.now_us()
                    later = domain.PutOff(now, item.id, now + _LONGEST_US)
                    await self._record(aggregate, item, view.version, later)
        await self._ledger.arm(aggregate)

    async def content(self, aggregate: AggregateId, item: domain.Item) -> chat_pb2.MessageContent:
        """Give what a message says, readable; erased where its person was. Raises StoreUnavailable."""
        page = await self._ledger.history(aggregate, after=item.content_version - 1, limit=1)
        content = chat_pb2.MessageContent.FromString(wire.content_of(page[0].payload) if page else b"")
        where = AggregateId(aggregate.tenant, commands.KIND, item.conversation_id)
        await self._messaging.contents.open(where, [(content, aggregate.id)])
        return content

    async def _step(self, aggregate: AggregateId, item: domain.Item, version: int, traceparent: str | None) -> None:
        now = commands.now_us()
        content = await self.content(aggregate, item)
        if content.erased:
            begun = item.status is domain.Status.SENDING
            await self._record(aggregate, item, version, domain.Fail(now, item.id, _GONE, begun))
            return
        # The same message is sent under the same request id by whoever sends it.
        request = chat_service_pb2.SendMessageRequest(
            request_id=derive_request_id(item.created_us, aggregate.key, item.id, "send"),
            conversation_id=item.conversation_id,
            content=content,
        )
        if item.status is domain.Status.WAITING:
            outcome = await self._begin(request, aggregate, item, now)
        else:
            outcome = await self._send(request, aggregate, item, now, traceparent)
        await self._record(aggregate, item, version, outcome)

    async def _begin(
        self, request: chat_service_pb2.SendMessageRequest, aggregate: AggregateId, item: domain.Item, at_us: int
    ) -> domain.ScheduleCommand:
        """Look whether it may be sent, by the rules and then by the tenant; what that says is marked with it, so it is asked no more."""
        actor = actor_for(aggregate, item)
        refused = await self.refusal(request, actor, at_us)
        content = b""
        if refused is None:
            where = commands.aggregate_of(actor, item.conversation_id)
            verdict = await self._messaging.review(request, actor, where, math.inf, _OCCASION)
            refused = verdict.refusal
            if verdict.content is not None:
                said = content_bytes(verdict.content)
                content = await self._messaging.contents.sealed(where, actor.user_id, said)
        if refused is not None:
            return told(item, refused, at_us, begun=False)
        return domain.Begin(at_us, item.id, content)

    async def refusal(
        self, request: chat_service_pb2.SendMessageRequest, actor: Actor, at_us: int
    ) -> chat.Refused | None:
        """Tell why a message would be refused now by the rules of its conversation; None where it would be taken, as far as can be seen."""
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        try:
            command, _ = await self._messaging.prepare(request, actor, aggregate, at_us, None, reviews=False)
            chat.decide((await self._ledger.read(aggregate)).state, command)
        except chat.Refused as refused:
            return refused
        except chat.Stale:
            return None  # it changes just now; the send itself will tell
        return None

    async def _send(
        self,
        request: chat_service_pb2.SendMessageRequest,
        aggregate: AggregateId,
        item: domain.Item,
        at_us: int,
        traceparent: str | None,
    ) -> domain.ScheduleCommand:
        actor = actor_for(aggregate, item)
        conversation = commands.aggregate_of(actor, item.conversation_id)
        for _ in range(_TRIES):
            try:
                command, named = await self._messaging.prepare(
                    request, actor, conversation, at_us, traceparent, reviews=False
                )
                receipt = await self._ledger.execute(conversation, command, named)
                return domain.Conclude(at_us, item.id, receipt.first_version)
            except chat.Stale:
                continue
            except (chat.Refused, RequestIdReused) as refused:
                return told(item, refused, at_us, begun=True)
        return domain.PutOff(at_us, item.id, at_us + _AGAIN_US)

    async def _record(
        self, aggregate: AggregateId, item: domain.Item, version: int, command: domain.ScheduleCommand
    ) -> None:
        # What two wake-ups find at the same version they record once.
        scope = (aggregate.key, item.id, str(version), type(command).__name__)
        named = Request(derive_request_id(item.created_us, *scope), fingerprint(*scope), None)
        await self._ledger.execute(aggregate, command, named)


def told(
    item: domain.Item, refused: chat.Refused | RequestIdReused, at_us: int, *, begun: bool
) -> domain.ScheduleCommand:
    """Give what a refusal leads to: another try where it says when, else the end."""
    if refused.retry_after is not None:
        wait_us = max(1, round(refused.retry_after * 1_000_000))
        if refused.reason == _OUTAGE:
            # Each try is written down, so one of days is tried seldom: the longer it is due, the longer it waits.
            wait_us = max(wait_us, min(_LONGEST_US, (at_us - item.send_us) // 10))
        return domain.PutOff(at_us, item.id, at_us + wait_us)
    return domain.Fail(at_us, item.id, refused.reason, begun)
