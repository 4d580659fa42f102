"""Saying again elsewhere what was said."""

from __future__ import annotations

from collections.abc import Awaitable

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import message_hook_service_pb2 as hook

from services.chat import commands, domain, marks, wire
from services.chat.access import Actor, actor_of, readable
from services.chat.bots import cards
from services.chat.messaging import Messaging, answered
from services.chat.pace import paced
from services.ledger.decider import Receipt
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call


class Forwarding:
    """Forwards messages, at the pace and by the rules by which ``messaging`` says things."""

    def __init__(self, ledger: Ledger, messaging: Messaging) -> None:
        """Forward messages of the conversations that ``ledger`` holds."""
        self._ledger = ledger
        self._messaging = messaging
        self._lookups = messaging.lookups
        self.pace = messaging.pace
        self.knows = messaging.knows

    @paced
    async def forward(self, request: pb.ForwardMessageRequest, call: Call) -> tuple[int, int]:
        """Say again elsewhere what was said; gives its version there and when it was taken. Raises domain.Refused."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        # Named after the request: what it forwards may be edited before it is repeated.
        named = commands.named(request, actor, call.traceparent)
        command: domain.SendMessage | domain.Withheld
        try:
            command = await self._forwarding(request, actor, aggregate, call.remaining(), now)
        except domain.Refused as refused:
            nothing = domain.SendMessage(now, actor.user_id, b"", 0, actor.oversees, actor.acting_service)
            command = domain.Withheld(nothing, refused, outright=True)

        def work(_known: domain.Known) -> Awaitable[Receipt]:
            return self._ledger.execute(aggregate, command, named, timeout=call.remaining())

        return answered(await self._messaging.told(aggregate, actor, (), work, now), now)

    async def _forwarding(
        self, request: pb.ForwardMessageRequest, actor: Actor, aggregate: AggregateId, left: float, now: int
    ) -> domain.SendMessage | domain.Withheld:
        """Look up what is forwarded, and make the command of it. Raises domain.Refused (NOT_FOUND, NO_SUCH_MESSAGE)."""
        source = commands.aggregate_of(actor, request.from_conversation_id)
        await readable(self._ledger, actor, source, now)
        found = await self._lookups.said(source, request.message_version)
        mark = await marks.mark(self._ledger, source, request.message_version)
        if found is None or not found.sender or mark.deleted or found.ended(now):
            raise domain.no_such_message(request.message_version)
        content = chat_pb2.MessageContent()
        content.CopyFrom(wire.wording(mark.edited).content if mark.edited else found.content)
        sealed = content.sealed
        await self._messaging.contents.open(source, [(content, found.sender)])
        for name in ("reply_to", "thread_root", "mentions"):
            content.ClearField(name)
        cards.without_presses(content)
        if mark.edited or not content.HasField("forwarded"):
            # Who edits what it forwarded says something of its own.
            content.forwarded.conversation_id = request.from_conversation_id
            content.forwarded.message_version = request.message_version
            content.forwarded.sender_id = found.sender
            content.forwarded.send_time.CopyFrom(wire.timestamp(found.at_us))
        if content.erased:
            raise domain.no_such_message(request.message_version)
        said = hook.ReviewMessageRequest(
            occasion=hook.MESSAGE_OCCASION_FORWARD, content=content, request_id=request.request_id
        )
        verdict = await self._messaging.reviewer.review(aggregate, actor, said, left)
        again = await self._messaging.contents.again(aggregate, verdict.content or content, sealed)
        if again is None:
            raise domain.no_such_message(request.message_version)
        # It lasts as long anew as it was said to last.
        lasts_us = wire.lasts_us(content) if content.HasField("expire_after") else 0
        attached = await self._messaging.uses.again(actor.tenant, content.attachment_ids)
        about = (
            domain.Said(0, None, (), False, domain.Known(), lasts_us, *attached) if lasts_us or attached.ids else None
        )
        command = domain.SendMessage(now, actor.user_id, again, 0, actor.oversees, actor.acting_service, about)
        return verdict.on(command)
