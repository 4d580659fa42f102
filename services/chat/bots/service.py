"""The rpcs of bots: presses go to the service that posted the card, answers come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf.message import Message
from tradewind.chat.v1 import bot_service_pb2 as pb
from tradewind.chat.v1 import chat_pb2

from services.chat import commands, domain, reading
from services.chat.access import Actor, actor_of, may_read
from services.chat.bots import cards, kind
from services.chat.bots import domain as pressing
from services.chat.bots.sharing import Share
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.subscriptions import MOST_AHEAD
from services.chat.watch import going_away, told_of_drain
from services.chat.whispers import Whispers
from services.ledger.decider import Receipt
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call

MOST_WAITING: Final = 1_000
"""Presses that wait for an answer in one process; further ones are answered at once, without one."""
_LOOK_EVERY: Final = 1.0


class BotService:
    """Handlers of ``tradewind.chat.v1.BotService``; their contract is in ``bot_service.proto``."""

    def __init__(self, ledger: Ledger, settings: ChatSettings, whispers: Whispers, contents: Contents) -> None:
        """Serve the cards in the conversations that ``ledger`` holds."""
        self._ledger = ledger
        self._settings = settings
        self._whispers = whispers
        self._contents = contents
        self._waiting = 0

    async def PressAction(self, request: pb.PressActionRequest, call: Call) -> pb.PressActionResponse:
        """Press an action of a card."""
        actor, now = actor_of(call.caller), commands.now_us()
        conversation = commands.aggregate_of(actor, request.conversation_id)
        posted = await self._posted(conversation, request.message_version)
        refusal = await self._refusal(request, actor, conversation, now, is_message=posted is not None)
        service = posted.acting_service or posted.actor_id if posted is not None else ""
        if not service:
            raise refusal or domain.no_such_message(request.message_version)
        actions = kind.actions_of(actor.tenant, service)
        command = pressing.Press(
            now,
            actor.user_id,
            actor.acting_service,
            request.conversation_id,
            request.message_version,
            request.action_id,
            await self._words(request, actor, actions) if refusal is None else b"",
            refusal,
        )
        receipt = await self._execute(actions, command, request, actor, call)
        response = pb.PressActionResponse(press_version=receipt.first_version)
        wait = min(request.wait.ToTimedelta().total_seconds(), call.remaining())
        if wait > 0 and self._waiting < MOST_WAITING:
            answer = await self._answer(actions, receipt.first_version, wait, call.draining)
            if answer is not None:
                response.answer.CopyFrom(answer)
        return response

    async def WatchActions(
        self, request: pb.WatchActionsRequest, call: Call
    ) -> AsyncIterator[pb.WatchActionsResponse | bytes]:
        """Stream what is pressed on the caller's cards."""
        actions = kind.actions_of(call.caller.tenant, call.caller.subject)
        share = Share(request.share, request.after_version) if request.HasField("share") else None
        watcher = self._ledger.watcher(self._readable)
        async with told_of_drain(call, watcher):
            version = await watcher.add(actions, request.after_version)
            if request.after_version > version + MOST_AHEAD:
                raise domain.Refused("INVALID_FIELD", "there never were that many events", field="after_version")
            while not call.draining.is_set():
                for frame in await watcher.ready():
                    data = frame.data if share is None else share.of(frame)
                    if data is not None:
                        yield data
        yield pb.WatchActionsResponse(going_away=going_away(self._settings))

    async def AnswerAction(self, request: pb.AnswerActionRequest, call: Call) -> pb.AnswerActionResponse:
        """Answer who pressed."""
        service = call.caller.subject
        actions = kind.actions_of(call.caller.tenant, service)
        is_press = await self._is_press(actions, request.press_version)
        command = pressing.Answer(
            commands.now_us(), service, request.press_version, is_press, request.text, dict(request.attributes)
        )
        actor = Actor(call.caller.tenant, service, "", True, True)
        receipt = await self._execute(actions, command, request, actor, call)
        await self._whispers.say(actions.tenant, _topic(actions, request.press_version))
        return pb.AnswerActionResponse(version=receipt.first_version)

    # --- parts ------------------------------------------------------------------------------------

    async def _words(self, request: pb.PressActionRequest, actor: Actor, actions: AggregateId) -> bytes:
        """Give what was filled in as log and store hold it: it is the user's, as what it says."""
        if not request.values:
            return b""
        said = chat_pb2.MessageContent(attributes=request.values)
        return await self._contents.sealed(actions, actor.user_id, said.SerializeToString(deterministic=True))

    def _readable(self, actions: AggregateId, events: bytes) -> bytes:
        """Make a run of events readable, for all who watch. Raises NotYet, StoreUnavailable."""
        response = pb.WatchActionsResponse.FromString(events)
        filled = [event for event in response.events if event.pressed.HasField("content")]
        if not filled:
            return events
        self._contents.open_at_hand(actions, [(event.pressed.content, event.actor_id) for event in filled])
        for event in filled:
            event.pressed.values.update(event.pressed.content.attributes)
            event.pressed.ClearField("content")
        return response.SerializeToString()

    async def _pressable(self, actor: Actor, conversation: AggregateId, at_us: int) -> domain.Conversation:
        """Give the conversation, where the actor may press in it. Raises domain.Refused (NOT_FOUND, NOT_A_MEMBER)."""
        state: domain.Conversation = (await self._ledger.read(conversation)).state
        is_reader = not (actor.oversees or domain.is_member(state, actor.user_id))
        if not (is_reader and await may_read(self._ledger, actor, conversation, state, at_us)):
            domain.require(state, actor.user_id, domain.Permission.PRESS_ACTION, oversees=actor.oversees)
        return state

    async def _posted(self, conversation: AggregateId, version: int) -> chat_pb2.ConversationEvent | None:
        """Give the event of a message; None where a version is none."""
        page = []
        if version <= (await self._ledger.read(conversation, fresh=False)).version:
            page = await self._ledger.history(conversation, after=version - 1, limit=1)
        event = chat_pb2.ConversationEvent.FromString(page[0].payload) if page else chat_pb2.ConversationEvent()
        return event if event.WhichOneof("event") == "message" else None

    async def _refusal(
        self, request: pb.PressActionRequest, actor: Actor, conversation: AggregateId, at_us: int, *, is_message: bool
    ) -> domain.Refused | None:
        """Tell why the action cannot be pressed, by this actor or as the card now is; None where it can."""
        try:
            state = await self._pressable(actor, conversation, at_us)
        except domain.Refused as refused:
            return refused
        if not is_message:
            return domain.no_such_message(request.message_version)
        page = await self._ledger.history(conversation, after=request.message_version - 1, limit=1)
        shown = await reading.shown(self._ledger, self._contents, conversation, actor.user_id, state, page)
        if not shown or shown[0].HasField("delete_time"):
            return domain.no_such_message(request.message_version)
        if cards.action_of(shown[0].content, request.action_id) is None:
            return pressing.no_such_action("the card has no such action to press")
        return None

    async def _is_press(self, actions: AggregateId, version: int) -> bool:
        if version > (await self._ledger.read(actions)).version:
            return False
        page = await self._ledger.history(actions, after=version - 1, limit=1)
        return bool(page) and pb.ActionEvent.FromString(page[0].payload).HasField("pressed")

    async def _answer(
        self, actions: AggregateId, version: int, seconds: float, draining: asyncio.Event
    ) -> pb.ActionAnswer | None:
        """Wait for the service's answer; a whisper tells of it, and as one may be lost, it is looked for by itself too."""
        self._waiting += 1
        try:
            return await self._told(actions, version, seconds, draining)
        finally:
            self._waiting -= 1

    async def _told(
        self, actions: AggregateId, version: int, seconds: float, draining: asyncio.Event
    ) -> pb.ActionAnswer | None:
        told = asyncio.Event()
        listener = await self._whispers.listen(actions.tenant, _topic(actions, version), lambda _: told.set())
        until = asyncio.get_running_loop().time() + seconds
        try:
            while True:
                told.clear()
                row = await self._ledger.row(kind.ANSWERS, kind.partition(actions), kind.key(version))
                if row is not None and row.value is not None:
                    return pb.ActionAnswer.FromString(row.value)
                left = until - asyncio.get_running_loop().time()
                if left <= 0 or draining.is_set():
                    return None
                waiting = [asyncio.ensure_future(each.wait()) for each in (told, draining)]
                await asyncio.wait(waiting, timeout=min(left, _LOOK_EVERY), return_when=asyncio.FIRST_COMPLETED)
                for each in waiting:
                    each.cancel()
        finally:
            await self._whispers.leave(listener)

    async def _execute(
        self, aggregate: AggregateId, command: Any, request: Message, actor: Actor, call: Call
    ) -> Receipt:
        named = commands.named(request, actor, call.traceparent)
        return await self._ledger.execute(aggregate, command, named, timeout=call.remaining())


def _topic(actions: AggregateId, version: int) -> str:
    return f"answer/{actions.id}/{version}"
