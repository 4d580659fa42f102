"""What is said and what becomes of it: a request becomes its command, with what had to be looked up for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import message_hook_service_pb2 as hook

from services.chat import commands, domain, marks, projections, wire
from services.chat.access import Actor, actor_of, may_read, readable, told
from services.chat.attachments.using import NOTHING, Attached, Uses
from services.chat.bots import cards
from services.chat.contents import Contents
from services.chat.domain import place
from services.chat.here import Online, nobody_knows, who_is_here
from services.chat.lookups import Lookups
from services.chat.moderation.review import FREE, Reviewer, Verdict
from services.chat.pace import Pace, paced
from services.ledger.decider import Receipt, Request
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call, Caller


class Messaging:
    """Sends, and what is done to messages afterwards."""

    def __init__(
        self,
        ledger: Ledger,
        lookups: Lookups,
        contents: Contents | None = None,
        reviewer: Reviewer | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Say things in the conversations that ``ledger`` holds; ``contents`` seals them, ``reviewer`` lets tenants look first.

        ``pace`` allows so much a second; without it there is no limit.
        """
        self._ledger = ledger
        self._uses = Uses(ledger)
        self.contents = contents or Contents()
        self._lookups = lookups
        self._reviewer = reviewer or Reviewer({})
        self.pace = pace or Pace()
        self.online: Online = nobody_knows

    def reviewed(self, tenant: str) -> bool:
        """Tell whether a tenant looks at its messages first; then none of them is plain."""
        return self._reviewer.asks(tenant)

    async def knows(self, caller: Caller, conversation_id: str) -> bool:
        """Tell whether a caller may read a conversation, as far as this process has heard. Raises LedgerError."""
        actor = actor_of(caller)
        aggregate = commands.aggregate_of(actor, conversation_id)
        state = (await self._ledger.read(aggregate, fresh=False)).state
        return await may_read(self._ledger, actor, aggregate, state, commands.now_us())

    async def prepare(
        self,
        request: pb.SendMessageRequest,
        actor: Actor,
        aggregate: AggregateId,
        at_us: int,
        traceparent: str | None,
        *,
        reviews: bool = True,
    ) -> tuple[domain.SendMessage | domain.Withheld, Request]:
        """Turn a request to say something into its command, all looked up. Raises domain.Refused, LedgerError.

        ``reviews``: the tenant looks at it here; else it did so before, or does so later.
        """
        await self._allowed(request, actor, True)
        request, attached = await self._attached(request, actor)
        content = request.content
        known = domain.Known()
        if content.thread_root:
            known = await self._lookups.known(aggregate, content.thread_root)
        unknown = await self._lookups.unknown(aggregate, content.reply_to)
        said = await self._said(content, actor, aggregate, known, attached)
        command, named = commands.send(request, actor, at_us, traceparent, unknown, said)
        verdict = await self.review(request, actor, aggregate, math.inf) if reviews else FREE
        return await self._sealed(aggregate, command, verdict), named

    @paced
    async def send(self, request: pb.SendMessageRequest, call: Call) -> tuple[int, int]:
        """Say something; gives its version and when it was taken."""
        actor, now = actor_of(call.caller, request.sender_id), commands.now_us()
        await self._allowed(request, actor, bool(request.sender_id))
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        request, attached = await self._attached(request, actor)
        unknown = await self._lookups.unknown(aggregate, request.content.reply_to)
        verdict = await self.review(request, actor, aggregate, call.remaining())

        async def work(known: domain.Known) -> Receipt:
            said = await self._said(request.content, actor, aggregate, known, attached)
            command, named = commands.send(request, actor, now, call.traceparent, unknown, said)
            sealed = await self._sealed(aggregate, command, verdict)
            return await self._ledger.execute(aggregate, sealed, named, timeout=call.remaining())

        return _sent(await self._told(aggregate, actor, (request.content.thread_root,), work, now), now)

    async def _allowed(self, request: pb.SendMessageRequest, actor: Actor, unknown: bool) -> None:
        """Raise domain.Refused where the actor says nothing here, or what is posted is not its to post.

        ``unknown``: the actor is not the caller, whose standing was looked at when the call came in.
        """
        if unknown:
            await self._reviewer.require_good(actor)
        cards.require_postable(request.content, actor)

    async def review(
        self,
        request: pb.SendMessageRequest,
        actor: Actor,
        aggregate: AggregateId,
        left: float,
        occasion: hook.MessageOccasion.ValueType = hook.MESSAGE_OCCASION_SEND,
    ) -> Verdict:
        """Let the tenant look at what is to be said, as it came. Raises domain.Refused for what nobody may say."""
        if not self._reviewer.asks(aggregate.tenant):
            return FREE
        commands.checked(request.content)
        said = hook.ReviewMessageRequest(occasion=occasion, content=request.content, request_id=request.request_id)
        return await self._reviewer.review(aggregate, actor, said, left)

    async def _sealed(
        self, aggregate: AggregateId, command: domain.SendMessage, verdict: Verdict = FREE
    ) -> domain.SendMessage | domain.Withheld:
        content = command.content if verdict.content is None else wire.content_bytes(verdict.content)
        if command.said is not None and command.said.here is not None:
            content = wire.with_here(content, command.said.here)
        sealed = await self.contents.sealed(aggregate, command.actor, content)
        return verdict.on(command._replace(content=sealed))

    async def described(self, content: chat_pb2.MessageContent, actor: Actor) -> chat_pb2.MessageContent:
        """Give a content with what is known of the attachments that it names. Raises LedgerError."""
        return (await self._uses.said(content, actor))[0]

    async def _attached(self, request: pb.SendMessageRequest, actor: Actor) -> tuple[pb.SendMessageRequest, Attached]:
        """Look at what a request attaches; gives the request with what is known of it."""
        content, attached = await self._uses.said(request.content, actor)
        if content is not request.content:
            after = pb.SendMessageRequest()
            after.CopyFrom(request)
            after.content.CopyFrom(content)
            request = after
        return request, attached

    async def _said(
        self,
        content: chat_pb2.MessageContent,
        actor: Actor,
        aggregate: AggregateId,
        known: domain.Known,
        attached: Attached = NOTHING,
    ) -> domain.Said | None:
        if not (
            content.thread_root or content.HasField("mentions") or content.HasField("expire_after") or attached.ids
        ):
            return None
        root = await self._lookups.target(aggregate, content.thread_root) if content.thread_root else None
        names, to_all = wire.mentioned(content)
        asks = content.mentions.here and not content.mentions.all
        here = await who_is_here(self._ledger, self.online, actor, aggregate) if asks else None
        return domain.Said(
            content.thread_root,
            root,
            names,
            to_all and here is None,
            known,
            wire.lasts_us(content),
            *attached,
            here=here,
        )

    @paced
    async def edit(self, request: pb.EditMessageRequest, call: Call) -> int:
        """Say something else; gives the event's version."""
        actor, now = actor_of(call.caller), commands.now_us()
        cards.require_postable(request.content, actor)
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        found = await self._lookups.said(aggregate, request.message_version)
        target = await self._lookups.target(aggregate, request.message_version)
        wanted, attached = await self._uses.said(request.content, actor)
        if wanted is not request.content:
            asked, request = request, pb.EditMessageRequest()
            request.CopyFrom(asked)
            request.content.CopyFrom(wanted)
        content = commands.edited(request, found.content if found is not None else chat_pb2.MessageContent())
        # A refusal goes to the log: this may have been done before.
        verdict = Verdict(domain.no_such_attachment(attached.missing)) if attached.missing else FREE
        if not attached.missing and self._reviewer.asks(actor.tenant):
            said = hook.ReviewMessageRequest(
                occasion=hook.MESSAGE_OCCASION_EDIT,
                content=chat_pb2.MessageContent.FromString(content),
                message_version=request.message_version,
                request_id=request.request_id,
            )
            verdict = await self._reviewer.review(aggregate, actor, said, call.remaining())
            content = content if verdict.content is None else wire.content_bytes(verdict.content)
        content = await self.contents.sealed(aggregate, actor.user_id, content)

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

        return _sent(await self._told(aggregate, actor, (), work, now), now)

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
        await self.contents.open(source, [(content, found.sender)])
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
        verdict = await self._reviewer.review(aggregate, actor, said, left)
        again = await self.contents.again(aggregate, verdict.content or content, sealed)
        if again is None:
            raise domain.no_such_message(request.message_version)
        # It lasts as long anew as it was said to last.
        lasts_us = wire.lasts_us(content) if content.HasField("expire_after") else 0
        attached = await self._uses.again(actor.tenant, content.attachment_ids)
        about = (
            domain.Said(0, None, (), False, domain.Known(), lasts_us, *attached) if lasts_us or attached.ids else None
        )
        command = domain.SendMessage(now, actor.user_id, again, 0, actor.oversees, actor.acting_service, about)
        return verdict.on(command)

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
        await self.contents.open(aggregate, [(each.content, found.sender) for each in response.wordings])
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

        return await self._told(aggregate, actor, versions, work, commands.now_us(), reaction)

    async def _told(
        self,
        aggregate: AggregateId,
        actor: Actor,
        versions: tuple[int, ...],
        work: Callable[[domain.Known], Awaitable[Receipt]],
        at_us: int,
        reaction: tuple[str, str] | None = None,
    ) -> Receipt:
        """Do something that rests on what may have changed of messages; a channel's reader is told what it lacks for it."""
        try:
            return await self._lookups.informed(aggregate, versions, work, reaction)
        except domain.Unseen as unseen:
            raise await told(self._ledger, actor, aggregate, unseen, at_us) from None


def _hiding(
    request: pb.DeleteMessageRequest, actor: Actor, target: domain.Target | None, at_us: int
) -> place.PlaceCommand:
    """Give what deletes a message for the actor alone. Raises domain.Refused (NO_SUCH_MESSAGE)."""
    if target is None:
        raise domain.no_such_message(request.message_version)
    return place.HideMessage(at_us, actor.user_id, target.version, target.sender, actor.acting_service)


def _sent(receipt: Receipt, at_us: int) -> tuple[int, int]:
    # A repeated send is answered with the first one's time.
    return receipt.first_version, wire.time_of(receipt.payloads[0]) if receipt.replayed else at_us
