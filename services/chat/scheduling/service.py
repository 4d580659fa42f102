"""The rpcs of scheduled messages."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2, chat_service_pb2
from tradewind.chat.v1 import schedule_service_pb2 as pb

from services.chat import commands, pages
from services.chat import domain as chat
from services.chat.access import Actor, actor_of, told
from services.chat.listings import PAGE_BYTES
from services.chat.messaging import Messaging
from services.chat.scheduling import domain
from services.chat.scheduling.sending import Sending, aggregate_of
from services.chat.wire import microseconds, timestamp
from services.ledger.decider import Receipt
from services.ledger.ids import AggregateId, derive_id
from services.ledger.ledger import Ledger
from services.runtime.call import Call

_DEFAULT_PAGE: Final = 20
_STATES: Final = {
    domain.Status.WAITING: pb.SCHEDULED_STATE_WAITING,
    domain.Status.SENDING: pb.SCHEDULED_STATE_SENDING,
    domain.Status.FAILED: pb.SCHEDULED_STATE_FAILED,
}


class ScheduleService:
    """Handlers of ``tradewind.chat.v1.ScheduleService``; their contract is in ``schedule_service.proto``."""

    def __init__(self, ledger: Ledger, messaging: Messaging, sending: Sending) -> None:
        """Schedule in ``ledger`` what ``sending`` will send."""
        self._ledger = ledger
        self._messaging = messaging
        self._sending = sending

    async def ScheduleMessage(self, request: pb.ScheduleMessageRequest, call: Call) -> pb.ScheduleMessageResponse:
        """Have a message sent later."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate, scheduled_id = aggregate_of(actor), _scheduled_id(request, actor)
        content = await self._checked(request.conversation_id, request.content, actor)
        refusal = None
        if scheduled_id not in (await self._ledger.read(aggregate)).state.items:
            refusal = await self._refusal(request, actor, now)
        send_us = microseconds(request.send_time)
        command = domain.Schedule(
            now, scheduled_id, request.conversation_id, content, send_us, actor.acting_service, refusal
        )
        receipt = await self._execute(aggregate, command, request, actor, call)
        return pb.ScheduleMessageResponse(scheduled_message=await self._after(aggregate, receipt, scheduled_id))

    async def ListScheduledMessages(
        self, request: pb.ListScheduledMessagesRequest, call: Call
    ) -> pb.ListScheduledMessagesResponse:
        """List the caller's scheduled messages."""
        actor = actor_of(call.caller)
        aggregate = aggregate_of(actor)
        listing = ("scheduled", actor.tenant, actor.user_id, request.conversation_id)
        after = pages.read(request.page_token, *listing) if request.page_token else ""
        items = (await self._ledger.read(aggregate)).state.items.values()
        wanted = sorted(
            (
                (f"{each.send_us:016x}{each.id}", each)
                for each in items
                if request.conversation_id in ("", each.conversation_id)
            ),
            key=lambda found: found[0],
        )
        response, size = pb.ListScheduledMessagesResponse(), 0
        left = [found for found in wanted if found[0] > after]
        for place, item in left[: request.page_size or _DEFAULT_PAGE]:
            shown = await self._shown(aggregate, item)
            size += shown.ByteSize()
            if response.scheduled_messages and size > PAGE_BYTES:
                break
            response.scheduled_messages.append(shown)
            after = place
        if len(response.scheduled_messages) < len(left):
            response.next_page_token = pages.make(after, *listing)
        return response

    async def UpdateScheduledMessage(
        self, request: pb.UpdateScheduledMessageRequest, call: Call
    ) -> pb.UpdateScheduledMessageResponse:
        """Say something else, or at another time."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate, content, refusal = aggregate_of(actor), b"", None
        if request.HasField("content"):
            item = (await self._ledger.read(aggregate)).state.items.get(request.scheduled_id)
            if item is None:
                refusal = domain.no_such_message()
            else:
                content = await self._checked(item.conversation_id, request.content, actor)
        send_us = microseconds(request.send_time) if request.HasField("send_time") else 0
        command = domain.Change(now, request.scheduled_id, content, send_us, actor.acting_service, refusal)
        receipt = await self._execute(aggregate, command, request, actor, call)
        shown = await self._after(aggregate, receipt, request.scheduled_id)
        return pb.UpdateScheduledMessageResponse(scheduled_message=shown)

    async def CancelScheduledMessage(
        self, request: pb.CancelScheduledMessageRequest, call: Call
    ) -> pb.CancelScheduledMessageResponse:
        """Have it not sent."""
        actor, now = actor_of(call.caller), commands.now_us()
        command = domain.Cancel(now, request.scheduled_id, actor.acting_service)
        await self._execute(aggregate_of(actor), command, request, actor, call)
        return pb.CancelScheduledMessageResponse()

    async def _checked(self, conversation_id: str, content: chat_pb2.MessageContent, actor: Actor) -> bytes:
        """Give a content as log and store hold it. Raises chat.Refused (INVALID_FIELD)."""
        where = commands.aggregate_of(actor, conversation_id)
        # What it attaches is named where all can read it, so that it is not taken for what nobody needs.
        content = await self._messaging.described(content, actor)
        return await self._messaging.contents.sealed(where, actor.user_id, commands.checked(content))

    async def _refusal(self, request: pb.ScheduleMessageRequest, actor: Actor, at_us: int) -> chat.Refused | None:
        """Tell why the message would be refused now, for more than being too soon; None where it would not."""
        asked = chat_service_pb2.SendMessageRequest(
            request_id=request.request_id, conversation_id=request.conversation_id, content=request.content
        )
        alone = Actor(actor.tenant, actor.user_id, actor.acting_service, False, False)
        refused = await self._sending.refusal(asked, alone, at_us)
        if isinstance(refused, chat.Unseen):
            where = commands.aggregate_of(actor, request.conversation_id)
            refused = await told(self._ledger, alone, where, refused, at_us)
        return refused if refused is not None and refused.retry_after is None else None

    async def _shown(self, aggregate: AggregateId, item: domain.Item) -> pb.ScheduledMessage:
        return pb.ScheduledMessage(
            scheduled_id=item.id,
            conversation_id=item.conversation_id,
            content=await self._sending.content(aggregate, item),
            send_time=timestamp(item.send_us),
            create_time=timestamp(item.created_us),
            state=_STATES[item.status],
            failure_reason=item.reason,
        )

    async def _after(self, aggregate: AggregateId, receipt: Receipt, scheduled_id: str) -> pb.ScheduledMessage:
        """Show a message as a write left it. Raises domain.Refused (NOT_FOUND) where it was sent since."""
        if receipt.payloads:
            view = await self._ledger.read_at(aggregate, receipt.last_version)
        else:
            view = await self._ledger.read(aggregate)
        item = view.state.items.get(scheduled_id)
        if item is None:
            raise domain.no_such_message()
        return await self._shown(aggregate, item)

    async def _execute(
        self, aggregate: AggregateId, command: Any, request: Message, actor: Actor, call: Call
    ) -> Receipt:
        named = commands.named(request, actor, call.traceparent)
        return await self._ledger.execute(aggregate, command, named, timeout=call.remaining())


def _scheduled_id(request: pb.ScheduleMessageRequest, actor: Actor) -> str:
    try:
        return derive_id(request.request_id, actor.tenant, actor.user_id, "scheduled")
    except ValueError:
        raise chat.Refused("INVALID_FIELD", "the request id must be a UUID of version 7", field="request_id") from None
