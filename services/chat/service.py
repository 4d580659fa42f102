"""The rpcs of Chat. Each turns its request into a command or a question, asks the ledger, and shows the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, listings, reading, receipts, wire
from services.chat.access import Actor, actor_of, knowable, telling
from services.chat.amending import Amending
from services.chat.changes import Changes
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.converse import Converse
from services.chat.departures import Departures
from services.chat.forwarding import Forwarding
from services.chat.lookups import Lookups
from services.chat.messaging import Messaging
from services.chat.moderation.review import Reviewer
from services.chat.news import Sources
from services.chat.operations import Performer
from services.chat.pace import Pace
from services.chat.watch import watch
from services.ledger.ledger import Ledger
from services.runtime.call import Call, unvalidated


class ChatService:
    """Handlers of ``tradewind.chat.v1.ChatService``; their contract is in ``chat_service.proto``."""

    def __init__(
        self,
        ledger: Ledger,
        settings: ChatSettings,
        contents: Contents,
        reviewer: Reviewer,
        sources: Sources,
    ) -> None:
        """Serve the conversations that ``ledger`` holds.

        ``contents`` seals what is said in them, ``reviewer`` lets tenants look first, ``sources`` tell streams more.
        """
        self._ledger = ledger
        self._contents = contents
        self._settings = settings
        self._messaging = Messaging(ledger, Lookups(ledger), self._contents, reviewer, Pace.of(settings))
        self._amending, self._forwarding = Amending(ledger, self._messaging), Forwarding(ledger, self._messaging)
        self._changes = Changes(ledger)
        self._departures = Departures(ledger)
        self._performer = Performer(ledger, self._messaging, self._changes, sources.presence.SetTyping)
        self._sources = sources

    @property
    def messaging(self) -> Messaging:
        """What says things, for parts of Chat that do so by themselves."""
        return self._messaging

    # --- conversations ----------------------------------------------------------------------------

    async def CreateConversation(
        self, request: pb.CreateConversationRequest, call: Call
    ) -> pb.CreateConversationResponse:
        """Start a conversation, or meet the direct one that is there."""
        return pb.CreateConversationResponse(conversation=await self._changes.create(request, call))

    async def GetConversation(self, request: pb.GetConversationRequest, call: Call) -> pb.GetConversationResponse:
        """Answer a conversation as it stands."""
        actor, now = actor_of(call.caller), commands.now_us()
        state = await knowable(self._ledger, actor, commands.aggregate_of(actor, request.conversation_id), now)
        return pb.GetConversationResponse(conversation=wire.conversation(request.conversation_id, state, now))

    async def ListConversations(self, request: pb.ListConversationsRequest, call: Call) -> pb.ListConversationsResponse:
        """List the conversations a user is in, newest first."""
        return await listings.conversations(self._ledger, request, _lister(call, request.user_id))

    async def UpdateConversation(
        self, request: pb.UpdateConversationRequest, call: Call
    ) -> pb.UpdateConversationResponse:
        """Call or set a conversation otherwise."""
        changed = await self._changes.apply(request, call, commands.change)
        return pb.UpdateConversationResponse(conversation=changed)

    # --- members ----------------------------------------------------------------------------------

    async def JoinConversation(self, request: pb.JoinConversationRequest, call: Call) -> pb.JoinConversationResponse:
        """Come in by oneself."""
        return pb.JoinConversationResponse(conversation=await self._changes.join(request, call))

    async def LeaveConversation(self, request: pb.LeaveConversationRequest, call: Call) -> pb.LeaveConversationResponse:
        """Go."""
        await self._changes.leave(request, call)
        return pb.LeaveConversationResponse()

    async def AddMembers(self, request: pb.AddMembersRequest, call: Call) -> pb.AddMembersResponse:
        """Let users in."""
        return pb.AddMembersResponse(conversation=await self._changes.apply(request, call, commands.add))

    async def RemoveMembers(self, request: pb.RemoveMembersRequest, call: Call) -> pb.RemoveMembersResponse:
        """Let users go."""
        return pb.RemoveMembersResponse(conversation=await self._changes.apply(request, call, commands.remove))

    async def SetMemberRole(self, request: pb.SetMemberRoleRequest, call: Call) -> pb.SetMemberRoleResponse:
        """Give a member another role."""
        return pb.SetMemberRoleResponse(conversation=await self._changes.apply(request, call, commands.set_role))

    async def BanMember(self, request: pb.BanMemberRequest, call: Call) -> pb.BanMemberResponse:
        """Keep a user out."""
        return pb.BanMemberResponse(conversation=await self._changes.apply(request, call, commands.ban))

    async def UnbanMember(self, request: pb.UnbanMemberRequest, call: Call) -> pb.UnbanMemberResponse:
        """Let a user in again."""
        return pb.UnbanMemberResponse(conversation=await self._changes.apply(request, call, commands.unban))

    async def ListBans(self, request: pb.ListBansRequest, call: Call) -> pb.ListBansResponse:
        """List who may not be in it."""
        actor = actor_of(call.caller)
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        async with telling(self._ledger, actor, aggregate, commands.now_us()):
            return listings.bans((await self._ledger.read(aggregate)).state, actor, commands.now_us())

    async def MuteMember(self, request: pb.MuteMemberRequest, call: Call) -> pb.MuteMemberResponse:
        """Take the word from a member."""
        return pb.MuteMemberResponse(conversation=await self._changes.apply(request, call, commands.mute))

    async def UnmuteMember(self, request: pb.UnmuteMemberRequest, call: Call) -> pb.UnmuteMemberResponse:
        """Give it back."""
        return pb.UnmuteMemberResponse(conversation=await self._changes.apply(request, call, commands.unmute))

    # --- messages ---------------------------------------------------------------------------------

    async def SendMessage(self, request: pb.SendMessageRequest, call: Call) -> pb.SendMessageResponse:
        """Say something."""
        version, sent_us = await self._messaging.send(request, call)
        return pb.SendMessageResponse(version=version, send_time=wire.timestamp(sent_us))

    async def EditMessage(self, request: pb.EditMessageRequest, call: Call) -> pb.EditMessageResponse:
        """Say something else."""
        return pb.EditMessageResponse(version=await self._amending.edit(request, call))

    async def ListMessageEdits(self, request: pb.ListMessageEditsRequest, call: Call) -> pb.ListMessageEditsResponse:
        """List what a message said."""
        return await self._amending.edits(request, call)

    async def DeleteMessage(self, request: pb.DeleteMessageRequest, call: Call) -> pb.DeleteMessageResponse:
        """Delete a message, for all or for the caller alone."""
        await self._amending.delete(request, call)
        return pb.DeleteMessageResponse()

    async def ForwardMessage(self, request: pb.ForwardMessageRequest, call: Call) -> pb.ForwardMessageResponse:
        """Say again elsewhere what was said."""
        version, sent_us = await self._forwarding.forward(request, call)
        return pb.ForwardMessageResponse(version=version, send_time=wire.timestamp(sent_us))

    async def PinMessage(self, request: pb.PinMessageRequest, call: Call) -> pb.PinMessageResponse:
        """Pin a message."""
        receipt = await self._amending.pin(request, call)
        aggregate = commands.aggregate_of(actor_of(call.caller), request.conversation_id)
        return pb.PinMessageResponse(conversation=await self._changes.shown(aggregate, receipt))

    async def UnpinMessage(self, request: pb.UnpinMessageRequest, call: Call) -> pb.UnpinMessageResponse:
        """Pin it no more."""
        return pb.UnpinMessageResponse(conversation=await self._changes.apply(request, call, commands.unpin))

    async def AddReaction(self, request: pb.AddReactionRequest, call: Call) -> pb.AddReactionResponse:
        """Give a message an emoji."""
        await self._amending.react(request, call)
        return pb.AddReactionResponse()

    async def RemoveReaction(self, request: pb.RemoveReactionRequest, call: Call) -> pb.RemoveReactionResponse:
        """Take it back."""
        await self._amending.react(request, call)
        return pb.RemoveReactionResponse()

    async def ListReactions(self, request: pb.ListReactionsRequest, call: Call) -> pb.ListReactionsResponse:
        """List who gave a message which emoji."""
        return await reading.reactions(self._ledger, request, actor_of(call.caller))

    async def ListMessages(self, request: pb.ListMessagesRequest, call: Call) -> pb.ListMessagesResponse:
        """Page through a conversation's messages."""
        return await reading.messages(self._ledger, self._contents, request, actor_of(call.caller))

    # --- receipts ---------------------------------------------------------------------------------

    async def MarkMessages(self, request: pb.MarkMessagesRequest, call: Call) -> pb.MarkMessagesResponse:
        """Move the caller's cursors up."""
        return await receipts.mark(self._ledger, request, actor_of(call.caller))

    async def GetUnread(self, request: pb.GetUnreadRequest, call: Call) -> pb.GetUnreadResponse:
        """Count what the caller has not read."""
        return await receipts.get(self._ledger, request, actor_of(call.caller))

    async def ListUnread(self, request: pb.ListUnreadRequest, call: Call) -> pb.ListUnreadResponse:
        """Count what the caller has not read anywhere."""
        return await receipts.everywhere(self._ledger, request, actor_of(call.caller))

    async def ListReceipts(self, request: pb.ListReceiptsRequest, call: Call) -> pb.ListReceiptsResponse:
        """List how far each member has got."""
        return await receipts.receipts(self._ledger, request, actor_of(call.caller))

    # --- streams ----------------------------------------------------------------------------------

    def Watch(self, request: pb.WatchRequest, call: Call) -> AsyncIterator[pb.WatchResponse | bytes]:
        """Stream a conversation's events."""
        return watch(self._ledger, self._contents, self._departures, request, call, self._settings)

    @unvalidated
    def Converse(self, requests: AsyncIterator[pb.ConverseRequest], call: Call) -> AsyncIterator[bytes]:
        """Carry sends and subscriptions to many conversations over one stream."""
        parts = (self._messaging, self._performer, self._departures, self._sources)
        return Converse(self._ledger, *parts, call, self._settings).serve(requests)


def _lister(call: Call, named: str) -> Actor:
    """Give whose conversations are listed. Raises domain.Refused (FORBIDDEN)."""
    actor = actor_of(call.caller)
    if not named or named == actor.user_id:
        return actor
    if not actor.oversees:
        raise domain.Refused("FORBIDDEN", "only roles admin and service list another's conversations", field="user_id")
    return Actor(actor.tenant, named, actor.acting_service, actor.oversees, False)
