"""The rpcs of Chat. Each turns its request into a command or a question, asks the ledger, and shows the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, listings, wire
from services.chat.access import Actor, actor_of, visible
from services.chat.config import ChatSettings
from services.chat.converse import Converse
from services.chat.watch import watch
from services.ledger.decider import Receipt
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call, unvalidated


class ChatService:
    """Handlers of ``tradewind.chat.v1.ChatService``; their contract is in ``chat_service.proto``."""

    def __init__(self, ledger: Ledger, settings: ChatSettings) -> None:
        """Serve the conversations that ``ledger`` holds."""
        self._ledger = ledger
        self._settings = settings

    async def CreateConversation(
        self, request: pb.CreateConversationRequest, call: Call
    ) -> pb.CreateConversationResponse:
        """Start a conversation, or meet the direct one that is there."""
        actor = actor_of(call.caller)
        aggregate, command, named = commands.create(request, actor, commands.now_us(), call.traceparent)
        receipt = await self._ledger.execute(aggregate, command, named, timeout=call.remaining())
        state = await self._after(aggregate, receipt)
        return pb.CreateConversationResponse(conversation=wire.conversation(aggregate.id, state))

    async def GetConversation(self, request: pb.GetConversationRequest, call: Call) -> pb.GetConversationResponse:
        """Answer a conversation as it stands."""
        actor = actor_of(call.caller)
        view = await self._ledger.read(commands.aggregate_of(actor, request.conversation_id))
        state = visible(actor, view.state)
        return pb.GetConversationResponse(conversation=wire.conversation(request.conversation_id, state))

    async def ListConversations(self, request: pb.ListConversationsRequest, call: Call) -> pb.ListConversationsResponse:
        """List the conversations a user is in, newest first."""
        return await listings.conversations(self._ledger, request, _lister(call, request.user_id))

    async def AddMembers(self, request: pb.AddMembersRequest, call: Call) -> pb.AddMembersResponse:
        """Let users into a group."""
        actor = actor_of(call.caller)
        command, named = commands.add(request, actor, commands.now_us(), call.traceparent)
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        receipt = await self._ledger.execute(aggregate, command, named, timeout=call.remaining())
        state = await self._after(aggregate, receipt)
        return pb.AddMembersResponse(conversation=wire.conversation(aggregate.id, state))

    async def RemoveMembers(self, request: pb.RemoveMembersRequest, call: Call) -> pb.RemoveMembersResponse:
        """Let users out of a group."""
        actor = actor_of(call.caller)
        command, named = commands.remove(request, actor, commands.now_us(), call.traceparent)
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        receipt = await self._ledger.execute(aggregate, command, named, timeout=call.remaining())
        state = await self._after(aggregate, receipt)
        return pb.RemoveMembersResponse(conversation=wire.conversation(aggregate.id, state))

    async def SendMessage(self, request: pb.SendMessageRequest, call: Call) -> pb.SendMessageResponse:
        """Say something."""
        actor = actor_of(call.caller, request.sender_id)
        command, named = commands.send(request, actor, commands.now_us(), call.traceparent)
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        receipt = await self._ledger.execute(aggregate, command, named, timeout=call.remaining())
        # A repeated send is answered with the first one's time.
        sent_us = wire.time_of(receipt.payloads[0]) if receipt.replayed else command.at_us
        return pb.SendMessageResponse(version=receipt.first_version, send_time=wire.timestamp(sent_us))

    async def ListMessages(self, request: pb.ListMessagesRequest, call: Call) -> pb.ListMessagesResponse:
        """Page through a conversation's messages."""
        return await listings.messages(self._ledger, request, actor_of(call.caller))

    def Watch(self, request: pb.WatchRequest, call: Call) -> AsyncIterator[pb.WatchResponse | bytes]:
        """Stream a conversation's events."""
        return watch(self._ledger, request, call, self._settings)

    @unvalidated
    def Converse(self, requests: AsyncIterator[pb.ConverseRequest], call: Call) -> AsyncIterator[bytes]:
        """Carry sends and subscriptions to many conversations over one stream."""
        return Converse(self._ledger, call, self._settings).serve(requests)

    async def _after(self, aggregate: AggregateId, receipt: Receipt) -> domain.Conversation:
        """Give the state to answer a change with: for a repeated one what the first answer showed, else what stands now."""
        if receipt.replayed and receipt.payloads:
            view = await self._ledger.read_at(aggregate, receipt.last_version)
        else:
            view = await self._ledger.read(aggregate)
        state: domain.Conversation = view.state
        return state


def _lister(call: Call, named: str) -> Actor:
    """Give whose conversations are listed. Raises domain.Refused (FORBIDDEN)."""
    actor = actor_of(call.caller)
    if not named or named == actor.user_id:
        return actor
    if not actor.oversees:
        raise domain.Refused("FORBIDDEN", "only roles admin and service list another's conversations", field="user_id")
    return Actor(actor.tenant, named, actor.acting_service, actor.oversees, False)
