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

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, frames
from services.chat.access import actor_of
from services.chat.config import ChatSettings
from services.chat.departures import Departures
from services.chat.flow import Flow
from services.chat.messaging import Messaging
from services.chat.news import News, Sources, asks
from services.chat.operations import Operations, Performer
from services.chat.sends import Sends, check_sizes
from services.chat.subscriptions import Subscription, allowed, arrived_in_order
from services.chat.watch import going_away, told_of_drain
from services.ledger.cursor import Frame
from services.ledger.ending import end
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call
from services.runtime.errors import status_of


class Converse:
    """One stream."""

    def __init__(
        self,
        ledger: Ledger,
        messaging: Messaging,
        performer: Performer,
        departures: Departures,
        sources: Sources,
        call: Call,
        settings: ChatSettings,
    ) -> None:
        """Serve one call."""
        self._ledger = ledger
        self._departures = departures
        self._sources = sources
        self._call = call
        self._settings = settings
        self._actor = actor_of(call.caller)
        self._watcher = ledger.watcher(messaging.contents.delivery, pace=settings.stream_pace)
        self._flag = self._watcher.flag
        self._subscriptions: dict[AggregateId, Subscription] = {}
        self._doubted: tuple[AggregateId, ...] = ()  # readers of these may have left
        self._answers: list[bytes] = []
        self._waiting: deque[Frame] = deque()
        self._unanswered = self._answered = 0
        self._room = asyncio.Event()
        self._messaging = messaging
        self._performer = performer
        self._sends: Sends | None = None
        self._news: News | None = None
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
            await end([reader])
            for place in self._subscriptions.values():
                place.close()
            if self._sends is not None:
                await self._sends.close()
            if self._operations is not None:
                await self._operations.close()
            if self._news is not None:
                await self._news.close()
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
        told = self._news is not None and self._news.under_way
        return not (self._unanswered or self._answers or operates or told or self._subscriptions)

    # --- in ---------------------------------------------------------------------------------------

    async def _read(self, requests: AsyncIterator[pb.ConverseRequest]) -> None:
        async for request in requests:
            self._flow.heard(listens=False)
            sends = self._sends_for(request)
            prepared = await sends.prepared(request) if sends else []
            await self._admitted(len(prepared) + len(request.operations) or 1)
            uncharged = await sends.paced(prepared) if sends else ()
            if request.HasField("flow"):
                self._flow.ask(request.flow)
            for unsubscribe in request.unsubscribe:
                self._drop(commands.aggregate_of(self._actor, unsubscribe.conversation_id))
            for wanted in request.subscribe:
                await self._subscribe(wanted)
            if self._news is not None or asks(request):
                await self._tell(request)
            if sends:
                self._unanswered += len(prepared)
                sends.submit(prepared, uncharged)
            if request.operations:
                await self._operate(request.operations)
            while self._unanswered >= self._settings.stream_unanswered:
                self._room.clear()
                await self._room.wait()
            self._flow.heard(listens=True)

    def _sends_for(self, request: pb.ConverseRequest) -> Sends | None:
        """Give what does a frame's sends; None where it has none. Raises domain.Refused (INVALID_FIELD) for one that is too large."""
        if not request.sends:
            check_sizes(request)
            return None
        if self._sends is None:
            self._sends = Sends(self._ledger, self._messaging, self._call, self._answer)
        return self._sends

    async def _tell(self, request: pb.ConverseRequest) -> None:
        """Tell news as a frame asks, and of what the stream now hears."""
        if self._news is None:
            self._news = News(self._sources, self._call, self._say)
        if request.subscribe or request.unsubscribe or asks(request):
            await self._news.ask(request, self._subscriptions)

    async def _operate(self, operations: Iterable[pb.Operation]) -> None:
        """Have operations done, and wait where too many are not."""
        if self._operations is None:
            self._operations = Operations(self._performer, self._call, self._settings.deadline_default, self._say)
        for operation in operations:
            self._operations.add(operation)
        await self._operations.room()

    async def _admitted(self, count: int) -> None:
        """Wait until the caller's rate allows so much; a stream is slowed where a call would be refused."""
        wait = self._call.admit(count)
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._call.admit(count)

    def _answer(self, encoded: bytes, count: int) -> None:
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
            after = wanted.after_version
            place = await allowed(self._ledger, self._departures, aggregate, self._actor, after, self._doubt)
            self._subscriptions[aggregate] = place
            await self._watcher.add(aggregate, wanted.after_version)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is this subscription's answer)
            self._drop(aggregate)
            self._unanswered += 1
            self._answer(frames.ended(wanted.conversation_id, status_of(error)), 1)

    def _drop(self, aggregate: AggregateId) -> None:
        place = self._subscriptions.pop(aggregate, None)
        if place is not None:
            place.close()
        self._watcher.remove(aggregate)

    def _doubt(self, aggregate: AggregateId) -> None:
        """Look at a place again before anything more is given."""
        self._doubted = (*(each for each in self._doubted if each != aggregate), aggregate)
        self._flag.set()

    async def _look_again(self) -> None:
        """End the subscriptions of a channel's reader that has left."""
        doubted, self._doubted = self._doubted, ()
        for aggregate in doubted:
            place = self._subscriptions.get(aggregate)
            if place is not None and place.doubted and not await place.stands(self._ledger):
                self._end(aggregate, place)

    def _end(self, aggregate: AggregateId, place: Subscription) -> None:
        """End a subscription whose right is gone, unless it is another's by now."""
        if self._subscriptions.get(aggregate) is place:
            self._drop(aggregate)
            self._say(frames.ended(aggregate.id, status_of(domain.not_a_member())))

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
        if self._doubted:
            await self._look_again()
        parts = self._take_answers()
        # Whatever else there is to say: where events wait, some of them go too.
        size = min(sum(map(len, parts)), self._settings.stream_frame_bytes - 1)
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
            if self._news is not None:
                self._news.sent()
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
