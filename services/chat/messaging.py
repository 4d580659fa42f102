"""What is said: a request becomes its command, with what had to be looked up for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import message_hook_service_pb2 as hook

from services.chat import commands, domain, wire
from services.chat.access import Actor, actor_of, may_read, told
from services.chat.attachments.using import NOTHING, Attached, Uses
from services.chat.bots import cards
from services.chat.contents import Contents
from services.chat.here import Online, nobody_knows, who_is_here
from services.chat.lookups import Lookups
from services.chat.moderation.review import FREE, Reviewer, Verdict
from services.chat.pace import Pace, paced
from services.ledger.decider import Receipt, Request
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call, Caller


class Messaging:
    """Says things; ``amending`` and ``forwarding`` do the rest by its means."""

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
        self.uses = Uses(ledger)
        self.contents = contents or Contents()
        self.lookups = lookups
        self.reviewer = reviewer or Reviewer({})
        self.pace = pace or Pace()
        self.online: Online = nobody_knows

    def reviewed(self, tenant: str) -> bool:
        """Tell whether a tenant looks at its messages first; then none of them is plain."""
        return self.reviewer.asks(tenant)

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
            known = await self.lookups.known(aggregate, content.thread_root)
        unknown = await self.lookups.unknown(aggregate, content.reply_to)
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
        unknown = await self.lookups.unknown(aggregate, request.content.reply_to)
        verdict = await self.review(request, actor, aggregate, call.remaining())

        async def work(known: domain.Known) -> Receipt:
            said = await self._said(request.content, actor, aggregate, known, attached)
            command, named = commands.send(request, actor, now, call.traceparent, unknown, said)
            sealed = await self._sealed(aggregate, command, verdict)
            return await self._ledger.execute(aggregate, sealed, named, timeout=call.remaining())

        return answered(await self.told(aggregate, actor, (request.content.thread_root,), work, now), now)

    async def _allowed(self, request: pb.SendMessageRequest, actor: Actor, unknown: bool) -> None:
        """Raise domain.Refused where the actor says nothing here, or what is posted is not its to post.

        ``unknown``: the actor is not the caller, whose standing was looked at when the call came in.
        """
        if unknown:
            await self.reviewer.require_good(actor)
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
        if not self.reviewer.asks(aggregate.tenant):
            return FREE
        commands.checked(request.content)
        said = hook.ReviewMessageRequest(occasion=occasion, content=request.content, request_id=request.request_id)
        return await self.reviewer.review(aggregate, actor, said, left)

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
        return (await self.uses.said(content, actor))[0]

    async def _attached(self, request: pb.SendMessageRequest, actor: Actor) -> tuple[pb.SendMessageRequest, Attached]:
        """Look at what a request attaches; gives the request with what is known of it."""
        content, attached = await self.uses.said(request.content, actor)
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
        root = await self.lookups.target(aggregate, content.thread_root) if content.thread_root else None
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

    async def told(
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
            return await self.lookups.informed(aggregate, versions, work, reaction)
        except domain.Unseen as unseen:
            raise await told(self._ledger, actor, aggregate, unseen, at_us) from None


def answered(receipt: Receipt, at_us: int) -> tuple[int, int]:
    """Give a send's version and when it was taken; of a repeated one, when it first was."""
    return receipt.first_version, wire.time_of(receipt.payloads[0]) if receipt.replayed else at_us
