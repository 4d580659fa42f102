"""The rpcs of invitations."""

from __future__ import annotations

import hmac
from typing import Any

from google.protobuf.message import Message
from tradewind.chat.v1 import invitation_service_pb2 as pb

from services.chat import commands, domain, marks, projections, receipts, wire
from services.chat.access import Actor, actor_of, telling
from services.chat.domain import place
from services.chat.invitations.shown import invitation_of, shown
from services.chat.invitations.tokens import digest_of, token_of
from services.ledger.decider import Receipt
from services.ledger.ids import AggregateId, derive_id
from services.ledger.ledger import Ledger
from services.runtime.call import Call


class InvitationService:
    """Handlers of ``tradewind.chat.v1.InvitationService``; their contract is in ``invitation_service.proto``."""

    def __init__(self, ledger: Ledger) -> None:
        """Invite into the conversations that ``ledger`` holds."""
        self._ledger = ledger

    async def CreateInvitation(self, request: pb.CreateInvitationRequest, call: Call) -> pb.CreateInvitationResponse:
        """Make an invitation."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        invitation_id = _invitation_id(request, actor)
        token = token_of(actor.tenant, aggregate.id, invitation_id, request.secret)
        lasts = request.expire_after
        command = domain.CreateInvitation(
            now,
            actor.user_id,
            invitation_id,
            digest_of(token),
            wire.role_of(request.role) if request.role else domain.Role.MEMBER,
            now + lasts.seconds * 1_000_000 + lasts.nanos // 1000 if request.HasField("expire_after") else 0,
            request.max_uses,
            **commands.how(actor),
        )
        receipt = await self._execute(aggregate, command, request, actor, call)
        state = await self._after(aggregate, receipt)
        return pb.CreateInvitationResponse(invitation=shown(invitation_of(state, invitation_id), now), token=token)

    async def ListInvitations(self, request: pb.ListInvitationsRequest, call: Call) -> pb.ListInvitationsResponse:
        """List a conversation's invitations."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        state = (await self._ledger.read(aggregate)).state
        async with telling(self._ledger, actor, aggregate, commands.now_us()):
            profile = domain.require(state, actor.user_id, domain.Permission.INVITE, oversees=actor.oversees)
        return pb.ListInvitationsResponse(invitations=[shown(each, now) for each in profile.invitations.values()])

    async def RevokeInvitation(self, request: pb.RevokeInvitationRequest, call: Call) -> pb.RevokeInvitationResponse:
        """Take an invitation back."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = commands.aggregate_of(actor, request.conversation_id)
        command = domain.RevokeInvitation(now, actor.user_id, request.invitation_id, **commands.how(actor))
        receipt = await self._execute(aggregate, command, request, actor, call)
        state = await self._after(aggregate, receipt)
        return pb.RevokeInvitationResponse(invitation=shown(invitation_of(state, request.invitation_id), now))

    async def GetInvitation(self, request: pb.GetInvitationRequest, call: Call) -> pb.GetInvitationResponse:
        """Answer what an invitation is to."""
        actor, now = actor_of(call.caller), commands.now_us()
        digest = digest_of(request.token)
        aggregate = await self._opened(actor, digest)
        state = (await self._ledger.read(aggregate)).state
        profile, invitation = domain.invited(state, digest)
        joined = domain.is_in(
            profile, invitation, actor.user_id, reads=await self._reads(aggregate, profile, invitation, actor)
        )
        if not joined:
            domain.usable(profile, invitation, actor.user_id, now)
        conversation = wire.conversation(aggregate.id, state, now)
        as_it_stands = shown(invitation, now)
        return pb.GetInvitationResponse(
            conversation_id=aggregate.id,
            kind=conversation.kind,
            title=profile.title,
            picture=profile.picture,
            member_count=len(profile.members),
            role=as_it_stands.role,
            expire_time=as_it_stands.expire_time if invitation.until_us else None,
            joined=joined,
        )

    async def JoinByInvitation(self, request: pb.JoinByInvitationRequest, call: Call) -> pb.JoinByInvitationResponse:
        """Come in by an invitation."""
        actor, now = actor_of(call.caller), commands.now_us()
        digest = digest_of(request.token)
        aggregate = await self._opened(actor, digest)
        state = (await self._ledger.read(aggregate)).state
        reads = False
        if domain.is_invited(state, digest):  # one that is there no more may have been used by this request before
            reads = await self._reads(aggregate, *domain.invited(state, digest), actor)
        command = domain.JoinByInvitation(
            now, actor.user_id, digest, reads, oversees=False, acting_service=actor.acting_service
        )
        receipt = await self._execute(aggregate, command, request, actor, call)
        if len(receipt.payloads) == 1:  # a member comes in by a second event, a channel's reader by its own place
            # The use is counted; whoever dies here comes again with the same request, and uses no other.
            await self._seat(aggregate, request, actor, call)
        state = await self._after(aggregate, receipt)
        return pb.JoinByInvitationResponse(conversation=wire.conversation(aggregate.id, state, now))

    async def _seat(
        self, aggregate: AggregateId, request: pb.JoinByInvitationRequest, actor: Actor, call: Call
    ) -> None:
        """Make a channel's reader of one whose use of an invitation is counted."""
        now = commands.now_us()
        state: domain.Conversation = (await self._ledger.read(aggregate)).state
        if state.profile is None:
            raise domain.no_such_invitation()
        command = place.JoinChannel(now, actor.user_id, state.profile.created_us, actor.acting_service)
        receipt = await self._execute(projections.place_of(aggregate, actor.user_id), command, request, actor, call)
        if receipt.payloads and not receipt.replayed:
            # What was said before is not unread for one who comes now.
            await receipts.start(self._ledger, aggregate, state, actor.user_id)

    async def _opened(self, actor: Actor, digest: str) -> AggregateId:
        """Give the conversation that a token opens. Raises domain.Refused (NOT_FOUND)."""
        row = await self._ledger.row(marks.INVITATIONS, f"{actor.tenant}/{digest[:2]}", digest)
        if row is None or row.value is None or not hmac.compare_digest(row.key, digest):
            raise domain.no_such_invitation()
        return commands.aggregate_of(actor, row.value.decode())

    async def _reads(
        self, aggregate: AggregateId, profile: domain.Profile, invitation: domain.Invitation, actor: Actor
    ) -> bool:
        if not domain.places_reader(profile, invitation):
            return False
        return await projections.reads(self._ledger, aggregate, actor.user_id, profile.created_us)

    async def _execute(
        self, aggregate: AggregateId, command: Any, request: Message, actor: Actor, call: Call
    ) -> Receipt:
        named = commands.named(request, actor, call.traceparent)
        async with telling(self._ledger, actor, aggregate, commands.now_us()):
            return await self._ledger.execute(aggregate, command, named, timeout=call.remaining())

    async def _after(self, aggregate: AggregateId, receipt: Receipt) -> domain.Conversation:
        """Give the conversation as a write left it: for a repeated one as the first left it."""
        if receipt.replayed and receipt.payloads:
            view = await self._ledger.read_at(aggregate, receipt.last_version)
        else:
            view = await self._ledger.read(aggregate)
        state: domain.Conversation = view.state
        return state


def _invitation_id(request: pb.CreateInvitationRequest, actor: Actor) -> str:
    try:
        return derive_id(request.request_id, actor.tenant, actor.user_id, "invitation")
    except ValueError:
        raise domain.Refused(
            "INVALID_FIELD", "the request id must be a UUID of version 7", field="request_id"
        ) from None
