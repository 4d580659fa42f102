"""What is done to messages after they were said: edits, deletions, pins, reactions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import message_hook_service_pb2 as hook

from services.chat import commands, domain, marks, projections, wire
from services.chat.access import Actor, actor_of, may_read, readable
from services.chat.bots import cards
from services.chat.domain import place
from services.chat.messaging import Messaging
from services.chat.moderation.review import FREE, Verdict
from services.chat.pace import paced
from services.ledger.decider import Receipt
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call


class Amending:
    """Changes what was said, at the pace and by the rules by which ``messaging`` says things."""

    def __init__(self, ledger: Ledger, messaging: Messaging) -> None:
        """Change messages of the conversations that ``ledger`` holds."""
        self._ledger = ledger
        self._messaging = messaging
        self._lookups = messaging.lookups
        self.pace = messaging.pace
        self.knows = messaging.knows

    @paced
    async def edit(self, request: pb.EditMessageRequest, call: Call) -> int:
        """Say something else; gives the event's version."""
        actor, now = actor_of(call.caller), commands.now_us()
        cards.require_postable(request.content, actor)
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        found = await self._lookups.said(aggregate, request.message_version)
        target = await self._lookups.target(aggregate, request.message_version)
        wanted, attached = await self._messaging.uses.said(request.content, actor)
        if wanted is not request.content:
            asked, request = request, pb.EditMessageRequest()
            request.CopyFrom(asked)
            request.content.CopyFrom(wanted)
        content = commands.edited(request, found.content if found is not None else chat_pb2.MessageContent())
        # A refusal goes to the log: this may have been done before.
        verdict = Verdict(domain.no_such_attachment(attached.missing)) if attached.missing else FREE
        if not attached.missing and self._messaging.reviewer.asks(actor.tenant):
            said = hook.ReviewMessageRequest(
                occasion=hook.MESSAGE_OCCASION_EDIT,
                content=chat_pb2.MessageContent.FromString(content),
                message_version=request.message_version,
                request_id=request.request_id,
            )
            verdict = await self._messaging.reviewer.review(aggregate, actor, said, call.remaining())
            content = content if verdict.content is None else wire.content_bytes(verdict.content)
        content = await self._messaging.contents.sealed(aggregate, actor.user_id, content)

        def make(known: domain.Known) -> domain.Command:
            return verdict.on(domain.EditMessage(now, actor.user_id, target, content, known, **commands.how(actor)))

        receipt = await self._change(request, actor, call, aggregate, (request.message_version,), make)
        return receipt.first_version

    async def delete(self, request: pb.DeleteMessageRequest, call: Call) -> None:
        """Delete a message, for all or for the caller alone."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        target = await self._lookups.target(aggregate, request.message_version)
        if request.for_me:
            here, named = (
                projections.place_of(aggregate, actor.user_id),
                commands.named(request, actor, call.traceparent),
            )
            try:
                await readable(self._ledger, actor, aggregate, now)
                hide = _hiding(request, actor, target, now)
            except domain.Refused as refused:
                hide = place.Withheld(now, refused)
            await self._ledger.execute(here, hide, named, timeout=call.remaining())
            return

        reads = False
        if target is None or target.sender == actor.user_id:
            state = (await self._ledger.read(aggregate, fresh=False)).state
            reads = await may_read(self._ledger, actor, aggregate, state, now)

        def make(known: domain.Known) -> domain.Command:
            return domain.DeleteMessage(now, actor.user_id, target, known, reads=reads, **commands.how(actor))

        about = (request.message_version, target.thread_root) if target is not None else ()
        await self._change(request, actor, call, aggregate, about, make)

    async def pin(self, request: pb.PinMessageRequest, call: Call) -> Receipt:
        """Pin a message."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        target = await self._lookups.target(aggregate, request.message_version)

        def make(known: domain.Known) -> domain.Command:
            return domain.PinMessage(now, actor.user_id, target, known, **commands.how(actor))

        return await self._change(request, actor, call, aggregate, (request.message_version,), make)

    @paced
    async def react(self, request: pb.AddReactionRequest | pb.RemoveReactionRequest, call: Call) -> None:
        """Give a message an emoji, or take it back."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        target = await self._lookups.target(aggregate, request.message_version)
        state = (await self._ledger.read(aggregate, fresh=False)).state
        remove = isinstance(request, pb.RemoveReactionRequest)
        reads = not actor.oversees and await may_read(self._ledger, actor, aggregate, state, now)

        def make(known: domain.Known) -> domain.Command:
            return domain.React(now, actor.user_id, target, request.emoji, remove, reads, known, **commands.how(actor))

        reaction = (request.emoji, actor.user_id)
        await self._change(request, actor, call, aggregate, (request.message_version,), make, reaction)

    async def edits(self, request: pb.ListMessageEditsRequest, call: Call) -> pb.ListMessageEditsResponse:
        """List what a message said. Raises domain.Refused (NOT_FOUND, NO_SUCH_MESSAGE)."""
        actor = actor_of(call.caller)
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        await readable(self._ledger, actor, aggregate, commands.now_us())
        version = request.message_version
        found = await self._lookups.said(aggregate, version)
        is_there = found is not None and found.sender and not found.ended(commands.now_us())
        if found is None or not is_there or (await marks.mark(self._ledger, aggregate, version)).deleted:
            raise domain.no_such_message(version)
        response = pb.ListMessageEditsResponse()
        response.wordings.add(content=found.content, time=wire.timestamp(found.at_us))
        where = marks.partition(aggregate)
        async for row in marks.between(self._ledger, marks.EDITS, where, version, version):
            response.wordings.append(wire.wording(row.value or b""))
        await self._messaging.contents.open(aggregate, [(each.content, found.sender) for each in response.wordings])
        return response

    async def _change(
        self,
        request: Message,
        actor: Actor,
        call: Call,
        aggregate: AggregateId,
        versions: tuple[int, ...],
        make: Callable[[domain.Known], domain.Command],
        reaction: tuple[str, str] | None = None,
    ) -> Receipt:
        named = commands.named(request, actor, call.traceparent)

        def work(known: domain.Known) -> Awaitable[Receipt]:
            return self._ledger.execute(aggregate, make(known), named, timeout=call.remaining())

        return await self._messaging.told(aggregate, actor, versions, work, commands.now_us(), reaction)


def _hiding(
    request: pb.DeleteMessageRequest, actor: Actor, target: domain.Target | None, at_us: int
) -> place.PlaceCommand:
    """Give what deletes a message for the actor alone. Raises domain.Refused (NO_SUCH_MESSAGE)."""
    if target is None:
        raise domain.no_such_message(request.message_version)
    return place.HideMessage(at_us, actor.user_id, target.version, target.sender, actor.acting_service)
