"""The rpcs of Chat. Each turns its request into a command or a question, asks the ledger, and shows the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, listings, wire
from services.chat.access import Actor, actor_of, knowable
from services.chat.changes import Changes
from services.chat.config import ChatSettings
from services.chat.converse import Converse
from services.chat.lookups import Lookups
from services.chat.watch import watch
from services.ledger.ledger import Ledger
from services.runtime.call import Call, unvalidated


class ChatService:
    """Handlers of ``tradewind.chat.v1.ChatService``; their contract is in ``chat_service.proto``."""

    def __init__(self, ledger: Ledger, settings: ChatSettings) -> None:
        """Serve the conversations that ``ledger`` holds."""
        self._ledger = ledger
        self._settings = settings
        self._lookups = Lookups(ledger)
        self._changes = Changes(ledger)

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
        view = await self._ledger.read(commands.aggregate_of(actor, request.conversation_id))
        return listings.bans(view.state, actor, commands.now_us())

    async def MuteMember(self, request: pb.MuteMemberRequest, call: Call) -> pb.MuteMemberResponse:
        """Take the word from a member."""
        return pb.MuteMemberResponse(conversation=await self._changes.apply(request, call, commands.mute))

    async def UnmuteMember(self, request: pb.UnmuteMemberRequest, call: Call) -> pb.UnmuteMemberResponse:
        """Give it back."""
        return pb.UnmuteMemberResponse(conversation=await self._changes.apply(request, call, commands.unmute))

    # --- messages ---------------------------------------------------------------------------------

    async def SendMessage(self, request: pb.SendMessageRequest, call: Call) -> pb.SendMessageResponse:
        """Say something."""
        actor = actor_of(call.caller, request.sender_id)
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        unknown = await self._lookups.unknown(aggregate, request.content.reply_to)
        command, named = commands.send(request, actor, commands.now_us(), call.traceparent, unknown)
        receipt = await self._ledger.execute(aggregate, command, named, timeout=call.remaining())
        # A repeated send is answered with the first one's time.
        sent_us = wire.time_of(receipt.payloads[0]) if receipt.replayed else command.at_us
        return pb.SendMessageResponse(version=receipt.first_version, send_time=wire.timestamp(sent_us))

    async def ListMessages(self, request: pb.ListMessagesRequest, call: Call) -> pb.ListMessagesResponse:
        """Page through a conversation's messages."""
        return await listings.messages(self._ledger, request, actor_of(call.caller))

    # --- streams ----------------------------------------------------------------------------------

    def Watch(self, request: pb.WatchRequest, call: Call) -> AsyncIterator[pb.WatchResponse | bytes]:
        """Stream a conversation's events."""
        return watch(self._ledger, request, call, self._settings)

    @unvalidated
    def Converse(self, requests: AsyncIterator[pb.ConverseRequest], call: Call) -> AsyncIterator[bytes]:
        """Carry sends and subscriptions to many conversations over one stream."""
        return Converse(self._ledger, self._lookups, call, self._settings).serve(requests)


def _lister(call: Call, named: str) -> Actor:
    """Give whose conversations are listed. Raises domain.Refused (FORBIDDEN)."""
    actor = actor_of(call.caller)
    if not named or named == actor.user_id:
        return actor
    if not actor.oversees:
        raise domain.Refused("FORBIDDEN", "only roles admin and service list another's conversations", field="user_id")
    return Actor(actor.tenant, named, actor.acting_service, actor.oversees, False)
