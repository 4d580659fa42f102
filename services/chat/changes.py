"""Changes of a conversation: a request becomes its command, the ledger writes what it leads to, and what then stands is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, projections, receipts, wire
from services.chat.access import Actor, actor_of, may_read, told
from services.chat.domain import place
from services.chat.reading import first_since
from services.ledger.decider import Receipt
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call

Asks = TypeVar("Asks", bound=Message)


class Changes:
    """What is asked to be changed."""

    def __init__(self, ledger: Ledger) -> None:
        """Change the conversations that ``ledger`` holds."""
        self._ledger = ledger

    async def create(self, request: pb.CreateConversationRequest, call: Call) -> chat_pb2.Conversation:
        """Start a conversation, or meet the direct one that is there."""
        actor = actor_of(call.caller)
        aggregate, command, named = commands.create(request, actor, commands.now_us(), call.traceparent)
        receipt = await self._ledger.execute(aggregate, command, named, timeout=call.remaining())
        return await self.shown(aggregate, receipt)

    async def apply(
        self, request: Asks, call: Call, make: Callable[[Asks, Actor, int], domain.Command]
    ) -> chat_pb2.Conversation:
        """Do what a request asks for, and show the conversation after it. Raises what domain and ledger refuse."""
        actor = actor_of(call.caller)
        conversation_id: str = request.conversation_id  # type: ignore[attr-defined]
        aggregate = commands.aggregate_of(actor, conversation_id)
        receipt = await self._execute(aggregate, make(request, actor, commands.now_us()), request, actor, call)
        await self._only_readers(aggregate, receipt)
        return await self.shown(aggregate, receipt)

    async def join(self, request: pb.JoinConversationRequest, call: Call) -> chat_pb2.Conversation:
        """Come in: into a group as a member, into a channel as a reader. Raises domain.Refused (NOT_FOUND, BANNED, MEMBERS_LIMIT).

        What is refused goes to the log all the same: whoever came in before by this request has its first answer.
        """
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        state = (await self._ledger.read(aggregate)).state
        profile = state.profile
        if profile is None or profile.kind is not domain.Kind.CHANNEL or actor.user_id in profile.members:
            return await self.apply(request, call, commands.join)
        reads = not actor.oversees and await may_read(self._ledger, actor, aggregate, state, now)
        command: place.PlaceCommand = place.JoinChannel(now, actor.user_id, profile.created_us, actor.acting_service)
        if domain.lasts(profile.bans, actor.user_id, now) and profile.open:
            command = place.Withheld(now, domain.banned(profile.bans[actor.user_id]))
        elif not (reads or profile.open):
            command = place.Withheld(now, domain.not_found())
        elif not reads:
            # What was said before is not unread for one who comes now. First, so that nothing is missing where the process ends in between.
            await receipts.start(self._ledger, aggregate, state, actor.user_id)
        receipt = await self._execute(projections.place_of(aggregate, actor.user_id), command, request, actor, call)
        if isinstance(command, place.Withheld):
            state = await self._when_joined(aggregate, receipt, state.version)
        return wire.conversation(aggregate.id, state, now)

    async def _when_joined(self, aggregate: AggregateId, receipt: Receipt, newest: int) -> domain.Conversation:
        """Give a channel as it was when somebody became its reader: it may know no more of it now."""
        joined_us = wire.decode_place(receipt.payloads[0]).at_us
        version = max(1, await first_since(self._ledger, aggregate, newest, joined_us) - 1)
        state: domain.Conversation = (await self._ledger.read_at(aggregate, version)).state
        return state

    async def leave(self, request: pb.LeaveConversationRequest, call: Call) -> None:
        """Go: as a member of a group or a channel, or else as a channel's reader. Raises domain.Refused (NOT_FOUND, LAST_OWNER)."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        here = projections.place_of(aggregate, actor.user_id)
        if await self._left_as_reader(aggregate, here, request, actor, call):
            return
        try:
            receipt = await self._execute(aggregate, commands.leave(request, actor, now), request, actor, call)
            if receipt.payloads or receipt.replayed:
                await self._only_readers(aggregate, receipt)
                return
        except domain.Refused as refused:
            if refused.reason not in ("NOT_FOUND", "NOT_A_MEMBER", "FORBIDDEN"):
                raise
        command = place.LeaveChannel(now, actor.user_id, actor.acting_service)
        receipt = await self._execute(here, command, request, actor, call)
        if not (receipt.payloads or receipt.replayed):
            raise domain.not_found()

    async def _left_as_reader(
        self, aggregate: AggregateId, here: AggregateId, request: pb.LeaveConversationRequest, actor: Actor, call: Call
    ) -> bool:
        """Tell whether a channel's member left by this request before, when it only read: it does not leave once more."""
        profile = (await self._ledger.read(aggregate)).state.profile
        if profile is None or profile.kind is not domain.Kind.CHANNEL or actor.user_id not in profile.members:
            return False
        try:
            await self._execute(here, place.Withheld(commands.now_us(), domain.not_found()), request, actor, call)
        except domain.Refused as refused:
            if refused.reason != "NOT_FOUND":
                raise
            return False
        return True

    async def _only_readers(self, aggregate: AggregateId, receipt: Receipt) -> None:
        """Let those who spoke in a channel and only read it from now on begin anew: what they said themselves is not unread for them."""
        gone = [user_id for payload in receipt.payloads for user_id in wire.removed(payload)]
        if not gone:
            return
        view = await self._ledger.read(aggregate, fresh=False, at_least=receipt.last_version)
        profile = view.state.profile
        if profile is None or profile.kind is not domain.Kind.CHANNEL:
            return
        if view.version != receipt.last_version:
            view = await self._ledger.read_at(aggregate, receipt.last_version)
        for user_id in gone:
            if await projections.reads(self._ledger, aggregate, user_id, profile.created_us):
                await receipts.start(self._ledger, aggregate, view.state, user_id)

    async def _execute(
        self, aggregate: AggregateId, command: Any, request: Message, actor: Actor, call: Call
    ) -> Receipt:
        named = commands.named(request, actor, call.traceparent)
        try:
            return await self._ledger.execute(aggregate, command, named, timeout=call.remaining())
        except domain.Unseen as unseen:
            raise await told(self._ledger, actor, aggregate, unseen, commands.now_us()) from None

    async def shown(self, aggregate: AggregateId, receipt: Receipt) -> chat_pb2.Conversation:
        """Show what a change led to: for a repeated one what the first answer showed, else what stands now."""
        if receipt.replayed and receipt.payloads:
            view = await self._ledger.read_at(aggregate, receipt.last_version)
        else:
            view = await self._ledger.read(aggregate)
        return wire.conversation(aggregate.id, view.state, commands.now_us())
