"""Converse: sends and subscriptions to many conversations over one stream. Chat's hot path.

Two loops a stream and no task a message. The reader takes frames in and hands their sends to the ledger, whose futures put the
answers on a list and raise one flag. The writer waits for that flag, which the subscriptions raise too, and sends all that is there in
one frame: answers of some forty bytes and deliveries as the ledger has joined them, shared by all readers. A client that does not
read stops its writer; the answers it does not fetch count as unanswered, which in turn stops its reader.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable
from functools import partial

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, frames, wire
from services.chat.access import actor_of, told
from services.chat.config import ChatSettings
from services.chat.flow import Flow
from services.chat.messaging import Messaging
from services.chat.operations import Operations, Performer
from services.chat.subscriptions import Subscription, allowed, arrived_in_order
from services.chat.watch import going_away, told_of_drain
from services.ledger.cursor import Frame
from services.ledger.decider import Receipt, Request
from services.ledger.ending import end
from services.ledger.errors import LedgerError
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call
from services.runtime.errors import Refused, status_of

_KNOWN_AGGREGATES = 1024
_MOST_ITEMS = 256  # of each kind in a frame, and
_MOST_HEARTBEAT = 300  # in seconds, as the contract says
_TRACED_SENDS = 1000  # of a sampled stream: streams last for days, a trace should not

_Prepared = tuple[AggregateId, domain.SendMessage | domain.Withheld, Request] | tuple[str, Exception]
_UnderWay = tuple[str, int, asyncio.Future[Receipt]]


class Converse:
    """One stream."""

    def __init__(
        self, ledger: Ledger, messaging: Messaging, performer: Performer, call: Call, settings: ChatSettings
    ) -> None:
        """Serve one call."""
        self._ledger = ledger
        self._messaging = messaging
        self._call = call
        self._settings = settings
        self._actor = actor_of(call.caller)
        self._reviewed = messaging.reviewed(call.caller.tenant)
        self._watcher = ledger.watcher(messaging.contents.delivery, pace=settings.stream_pace)
        self._flag = self._watcher.flag
        self._subscriptions: dict[AggregateId, Subscription] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._aggregates: dict[str, AggregateId] = {}
        self._answers: list[bytes] = []
        self._waiting: deque[Frame] = deque()
        self._unanswered = self._answered = 0
        self._traced = 0
        self._room = asyncio.Event()
        self._performer = performer
        self._operations: Operations | None = None  # most streams have none, and there are many streams
        self._flow = Flow(self._say, self._flag.set)

    async def serve(self, requests: AsyncIterator[pb.ConverseRequest]) -> AsyncIterator[bytes]:
        """Give the stream's frames. Raises Refused (INVALID_FIELD) for a frame that breaks a field rule."""
        reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(lambda _: self._flag.set())
        try:
            async with told_of_drain(self._call, self._watcher):
                while not self._call.draining.is_set() and not self._is_over(reader):
                    frame = await self._next_frame()
                    if frame:
                        self._flow.said()
                        yield frame
                if self._flow.failure is not None:
                    raise self._flow.failure
                if self._is_over(reader):
                    reader.result()  # a frame that breaks a rule ends the stream here
                else:
                    reader.cancel()
                    yield await self._farewell()
        finally:
            # What it failed of was raised above, or the stream is gone and it is nobody's any more.
            await end([reader, *self._telling])
            if self._operations is not None:
                await self._operations.close()
            self._flow.close()

    def _is_over(self, reader: asyncio.Task[None]) -> bool:
        """Tell whether nothing more will come: the client is done or at fault, and has all its answers."""
        if self._flow.failure is not None:
            return True
        if not reader.done():
            return False
        if reader.exception() is not None:
            return not self._answers
        operates = self._operations is not None and self._operations.under_way
        return not (self._unanswered or self._answers or operates or self._subscriptions)

    # --- in ---------------------------------------------------------------------------------------

    async def _read(self, requests: AsyncIterator[pb.ConverseRequest]) -> None:
        async for request in requests:
            self._flow.heard(listens=False)
            sends = await self._prepared(request)
            await self._admitted(len(sends) + len(request.operations) or 1)
            await self._paced(sends)
            if request.HasField("flow"):
                self._flow.ask(request.flow)
            for unsubscribe in request.unsubscribe:
                self._drop(commands.aggregate_of(self._actor, unsubscribe.conversation_id))
            for wanted in request.subscribe:
                await self._subscribe(wanted)
            if sends:
                self._send(sends)
            if request.operations:
                await self._operate(request.operations)
            while self._unanswered >= self._settings.stream_unanswered:
                self._room.clear()
                await self._room.wait()
            self._flow.heard(listens=True)

    async def _operate(self, operations: Iterable[pb.Operation]) -> None:
        """Have operations done, and wait where too many are not."""
        if self._operations is None:
            self._operations = Operations(self._performer, self._call, self._settings.deadline_default, self._say)
        for operation in operations:
            self._operations.add(operation)
        await self._operations.room()

    async def _prepared(self, request: pb.ConverseRequest) -> list[_Prepared]:
        """Check a frame's size, and turn its sends into commands, each checked by itself. Raises Refused (INVALID_FIELD).

        A frame of plain sends to known conversations, which is nearly every one, is checked on the way.
        """
        at_us = commands.now_us()
        traceparent = self._traceparent(len(request.sends))
        plain_enough = request.sends and len(request.ListFields()) == 1 and len(request.sends) <= _MOST_ITEMS
        if plain_enough and not self._reviewed:
            prepared: list[_Prepared] = []
            seal = self._messaging.contents.sealed_text
            for said in request.sends:
                aggregate = self._aggregates.get(said.conversation_id)
                if aggregate is None:
                    break
                plain = commands.plain_send(said, aggregate, self._actor, at_us, traceparent, seal)
                if plain is None:
                    break
                prepared.append(plain)
            else:
                return prepared
        _check_sizes(request)
        preparing = (self._prepare(said, at_us, traceparent) for said in request.sends)
        if self._reviewed:  # somebody else is asked about each: side by side, and handed on in their order
            return list(await asyncio.gather(*preparing))
        return [await each for each in preparing]

    def _traceparent(self, sends: int) -> str | None:
        traceparent = self._call.traceparent
        if traceparent is None or self._traced >= _TRACED_SENDS:
            return None
        self._traced += sends
        return traceparent

    async def _prepare(self, said: pb.SendMessageRequest, at_us: int, traceparent: str | None) -> _Prepared:
        try:
            self._call.validate(said)
            sender = said.sender_id
            actor = actor_of(self._call.caller, sender) if sender else self._actor
            aggregate = self._aggregate(said.conversation_id)
            return aggregate, *await self._messaging.prepare(said, actor, aggregate, at_us, traceparent)
        except (domain.Refused, Refused, LedgerError) as refused:
            return said.request_id, refused

    async def _admitted(self, count: int) -> None:
        """Wait until the caller's rate allows so much; a stream is slowed where a call would be refused."""
        wait = self._call.admit(count)
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._call.admit(count)

    async def _paced(self, sends: list[_Prepared]) -> None:
        """Wait until the sender and the conversations may say so much: counted once a frame."""
        counts: dict[str, int] = {}
        for send in sends:
            if len(send) == 3:
                name = send[0].id
                counts[name] = counts.get(name, 0) + 1
        wait = self._messaging.pace.wait(self._call.caller, counts) if counts else 0.0
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._messaging.pace.wait(self._call.caller, counts)

    def _send(self, sends: list[_Prepared]) -> None:
        """Hand sends to the ledger. It answers those of one conversation in their order, so the last one's answer tells of all."""
        submit = self._ledger.submit
        under_way: dict[AggregateId, list[_UnderWay]] = {}
        self._unanswered += len(sends)
        for send in sends:
            if len(send) == 2:
                self._answer(frames.refusal(send[0], status_of(send[1])))
                continue
            aggregate, command, named = send
            try:
                future = submit(aggregate, command, named)
            except LedgerError as error:
                self._answer(frames.refusal(named.id, status_of(error)))
                continue
            group = under_way.get(aggregate)
            if group is None:
                under_way[aggregate] = group = []
            group.append((named.id, command.at_us, future))
        for aggregate, group in under_way.items():
            group[-1][2].add_done_callback(partial(self._settled, aggregate, group))

    def _settled(self, aggregate: AggregateId, group: list[_UnderWay], _last: asyncio.Future[Receipt]) -> None:
        answers: list[bytes] = []
        for send in group:
            if send[2].done():
                answer = self._encoded(aggregate, *send)
                if answer:
                    answers.append(answer)
            else:
                # It was left for a later entry than the last one; it then answers for itself.
                send[2].add_done_callback(partial(self._settled, aggregate, [send]))
        self._answer(b"".join(answers), len(answers))

    def _encoded(self, aggregate: AggregateId, request_id: str, at_us: int, future: asyncio.Future[Receipt]) -> bytes:
        """Encode a send's answer; empty where it has yet to be looked up."""
        if future.cancelled():
            # Only a ledger that closes under us does that; the client sends again elsewhere.
            drained = domain.Refused("DRAINING", "the server is draining; connect again")
            return frames.refusal(request_id, status_of(drained))
        failure = future.exception()
        if failure is not None:
            self._messaging.pace.refused(self._call.caller, aggregate.id, failure)
            if isinstance(failure, domain.Unseen):
                telling = asyncio.create_task(self._tell(aggregate, request_id, failure), name="chat-told")
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)
                return b""
            return frames.refusal(request_id, status_of(failure))
        receipt = future.result()
        if receipt.replayed:
            at_us = wire.time_of(receipt.payloads[0])
        return frames.send_result(request_id, receipt.first_version, at_us)

    async def _tell(self, aggregate: AggregateId, request_id: str, unseen: domain.Unseen) -> None:
        """Answer one who may be a reader of the channel that it cannot speak in."""
        failure: Exception
        try:
            failure = await told(self._ledger, self._actor, aggregate, unseen, commands.now_us())
        except LedgerError as error:
            failure = error
        self._answer(frames.refusal(request_id, status_of(failure)))
        self._telling = {task for task in self._telling if not task.done()}

    def _answer(self, encoded: bytes, count: int = 1) -> None:
        self._answered += count
        self._say(encoded)

    def _say(self, encoded: bytes) -> None:
        self._answers.append(encoded)
        self._flag.set()

    async def _subscribe(self, wanted: pb.Subscribe) -> None:
        aggregate = commands.aggregate_of(self._actor, wanted.conversation_id)
        self._drop(aggregate)
        try:
            self._call.validate(wanted)
            if len(self._subscriptions) >= self._settings.stream_subscriptions:
                raise domain.Refused("OVERLOADED", "the stream hears as many conversations as it may")
            # The place must stand before the first frame can come, which is while the watcher still looks.
            place = await allowed(self._ledger, aggregate, self._actor, wanted.after_version)
            self._subscriptions[aggregate] = place
            await self._watcher.add(aggregate, wanted.after_version)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is this subscription's answer)
            self._drop(aggregate)
            self._unanswered += 1
            self._answer(frames.ended(wanted.conversation_id, status_of(error)))

    def _drop(self, aggregate: AggregateId) -> None:
        self._subscriptions.pop(aggregate, None)
        self._watcher.remove(aggregate)

    def _aggregate(self, conversation_id: str) -> AggregateId:
        known = self._aggregates.get(conversation_id)
        if known is None:
            if len(self._aggregates) >= _KNOWN_AGGREGATES:
                self._aggregates.clear()
            known = self._aggregates[conversation_id] = commands.aggregate_of(self._actor, conversation_id)
        return known

    # --- out --------------------------------------------------------------------------------------

    async def _next_frame(self) -> bytes:
        """Wait until something is there and give it, up to the size of a frame; empty where only the flag was raised."""
        if self._flow.holds:
            if not self._answers:
                await self._flag.wait()
            self._flag.clear()
        elif not self._waiting:
            if not self._answers:
                self._waiting.extend(await self._watcher.ready())
            if self._answers:  # what is there goes with them
                self._waiting.extend(await self._watcher.collect())
        parts = self._take_answers()
        size = sum(map(len, parts))
        while self._waiting and size < self._settings.stream_frame_bytes and not self._flow.holds:
            frame = self._waiting.popleft()
            data = await self._deliver(frame)
            if data:
                self._flow.delivered(frame)
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def _take_answers(self) -> list[bytes]:
        answers, self._answers = self._answers, []
        if answers:
            self._unanswered -= self._answered
            self._answered = 0
            self._room.set()
        return answers

    async def _deliver(self, frame: Frame) -> bytes:
        place = self._subscriptions.get(frame.aggregate)
        if place is None or not await arrived_in_order(place, frame, self._watcher):
            return b""
        if place.passes(frame):
            return frame.data
        (delivery,) = pb.ConverseResponse.FromString(frame.data).deliveries
        last = await place.cut_after(frame, delivery.events, self._ledger)
        if last is None:
            return frame.data
        if self._subscriptions.get(frame.aggregate) is place:
            self._drop(frame.aggregate)
        until_then = pb.Delivery(conversation_id=delivery.conversation_id)
        until_then.events.extend(event for event in delivery.events if event.version <= last)
        answer = pb.ConverseResponse(deliveries=[until_then] if until_then.events else [])
        return answer.SerializeToString() + frames.ended(frame.aggregate.id, status_of(domain.not_a_member()))

    async def _farewell(self) -> bytes:
        """Give the last frame of a draining server: the answers that come soon, and when to come back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_answers):
                while self._answered < self._unanswered:
                    self._flag.clear()
                    await self._flag.wait()
        goodbye = pb.ConverseResponse(going_away=going_away(self._settings))
        return b"".join((*self._take_answers(), goodbye.SerializeToString()))


def _check_sizes(request: pb.ConverseRequest) -> None:
    """Refuse a frame that holds more than it may. What it holds is refused item by item. Raises domain.Refused (INVALID_FIELD)."""
    for name in ("unsubscribe", "subscribe", "sends", "operations"):
        if len(getattr(request, name)) > _MOST_ITEMS:
            raise domain.Refused("INVALID_FIELD", f"a frame holds at most {_MOST_ITEMS} of each", field=name)
    if request.flow.heartbeat_seconds > _MOST_HEARTBEAT:
        rule = f"a heartbeat is asked for at most every {_MOST_HEARTBEAT} s"
        raise domain.Refused("INVALID_FIELD", rule, field="flow.heartbeat_seconds")
