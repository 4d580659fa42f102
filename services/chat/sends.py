"""Sends over one Converse stream: each checked by itself, handed to the ledger, and answered from its future. No task a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, frames, wire
from services.chat.access import actor_of, told
from services.chat.messaging import Messaging
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

Prepared = tuple[AggregateId, domain.SendMessage | domain.Withheld, Request] | tuple[str, Exception]
"""A send that the ledger may be given; or its request id, and why it may not."""
_UnderWay = tuple[str, int, asyncio.Future[Receipt]]


class Sends:
    """The sends of one stream.

    Args:
        answer: takes answers, encoded as fields of ConverseResponse, and how many they are. Every send is answered once.
    """

    __slots__ = (
        "_actor",
        "_aggregates",
        "_answer",
        "_call",
        "_ledger",
        "_messaging",
        "_reviewed",
        "_telling",
        "_traced",
    )

    def __init__(self, ledger: Ledger, messaging: Messaging, call: Call, answer: Callable[[bytes, int], None]) -> None:
        """Serve one stream."""
        self._ledger = ledger
        self._messaging = messaging
        self._call = call
        self._answer = answer
        self._actor = actor_of(call.caller)
        self._reviewed = messaging.reviewed(call.caller.tenant)
        self._aggregates: dict[str, AggregateId] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._traced = 0

    async def close(self) -> None:
        """Answer no more."""
        await end(self._telling)

    async def prepared(self, request: pb.ConverseRequest) -> list[Prepared]:
        """Check a frame's size, and turn its sends into commands, each checked by itself. Raises Refused (INVALID_FIELD).

        A frame of plain sends to known conversations, which is nearly every one, is checked on the way.
        """
        at_us = commands.now_us()
        traceparent = self._traceparent(len(request.sends))
        plain_enough = request.sends and len(request.ListFields()) == 1 and len(request.sends) <= _MOST_ITEMS
        if plain_enough and not self._reviewed:
            prepared: list[Prepared] = []
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
        check_sizes(request)
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

    async def _prepare(self, said: pb.SendMessageRequest, at_us: int, traceparent: str | None) -> Prepared:
        try:
            self._call.validate(said)
            sender = said.sender_id
            actor = actor_of(self._call.caller, sender) if sender else self._actor
            aggregate = self._aggregate(said.conversation_id)
            return aggregate, *await self._messaging.prepare(said, actor, aggregate, at_us, traceparent)
        except (domain.Refused, Refused, LedgerError) as refused:
            return said.request_id, refused

    async def paced(self, sends: list[Prepared]) -> Collection[str]:
        """Wait until the sender and the conversations may say so much: counted once a frame. Gives the conversations not charged."""
        counts: dict[str, int] = {}
        for send in sends:
            if len(send) == 3:
                name = send[0].id
                counts[name] = counts.get(name, 0) + 1
        if not counts:
            return ()
        pace, caller, others = self._messaging.pace, self._call.caller, 0
        uncharged: set[str] = set()
        wait = pace.take(caller, counts)
        while wait.seconds:
            if wait.full and not await self._knows(wait.full):
                others += counts.pop(wait.full)
                uncharged.add(wait.full)
            else:
                pace.count(wait)
                await asyncio.sleep(wait.seconds)
            wait = pace.take(caller, counts, others)
        return uncharged

    async def _knows(self, conversation_id: str) -> bool:
        """Tell whether the caller may know that much is said in a conversation; where that cannot be told now, it waits as if it might."""
        try:
            return await self._messaging.knows(self._call.caller, conversation_id)
        except LedgerError:
            return True

    def submit(self, sends: list[Prepared], uncharged: Collection[str]) -> None:
        """Hand sends to the ledger. It answers those of one conversation in their order, so the last one's answer tells of all.

        ``uncharged``: what ``paced`` gave for them.
        """
        submit = self._ledger.submit
        under_way: dict[AggregateId, list[_UnderWay]] = {}
        for send in sends:
            if len(send) == 2:
                self._answer(frames.refusal(send[0], status_of(send[1])), 1)
                continue
            aggregate, command, named = send
            try:
                future = submit(aggregate, command, named)
            except LedgerError as error:
                self._answer(frames.refusal(named.id, status_of(error)), 1)
                continue
            group = under_way.get(aggregate)
            if group is None:
                under_way[aggregate] = group = []
            group.append((named.id, command.at_us, future))
        for aggregate, group in under_way.items():
            charged = aggregate.id not in uncharged
            group[-1][2].add_done_callback(partial(self._settled, aggregate, charged, group))

    def _settled(
        self, aggregate: AggregateId, charged: bool, group: list[_UnderWay], _last: asyncio.Future[Receipt]
    ) -> None:
        answers: list[bytes] = []
        for send in group:
            if send[2].done():
                answer = self._encoded(aggregate, charged, *send)
                if answer:
                    answers.append(answer)
            else:
                # It was left for a later entry than the last one; it then answers for itself.
                send[2].add_done_callback(partial(self._settled, aggregate, charged, [send]))
        self._answer(b"".join(answers), len(answers))

    def _encoded(
        self, aggregate: AggregateId, charged: bool, request_id: str, at_us: int, future: asyncio.Future[Receipt]
    ) -> bytes:
        """Encode a send's answer; empty where it has yet to be looked up."""
        if future.cancelled():
            # Only a ledger that closes under us does that; the client sends again elsewhere.
            drained = domain.Refused("DRAINING", "the server is draining; connect again")
            return frames.refusal(request_id, status_of(drained))
        failure = future.exception()
        if failure is not None:
            if charged:
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
        self._answer(frames.refusal(request_id, status_of(failure)), 1)

    def _aggregate(self, conversation_id: str) -> AggregateId:
        known = self._aggregates.get(conversation_id)
        if known is None:
            if len(self._aggregates) >= _KNOWN_AGGREGATES:
                self._aggregates.clear()
            known = self._aggregates[conversation_id] = commands.aggregate_of(self._actor, conversation_id)
        return known


def check_sizes(request: pb.ConverseRequest) -> None:
    """Refuse a frame that holds more than it may. What it holds is refused item by item. Raises domain.Refused (INVALID_FIELD)."""
    for name in ("unsubscribe", "subscribe", "sends", "operations"):
        if len(getattr(request, name)) > _MOST_ITEMS:
            raise domain.Refused("INVALID_FIELD", f"a frame holds at most {_MOST_ITEMS} of each", field=name)
    if request.flow.heartbeat_seconds > _MOST_HEARTBEAT:
        rule = f"a heartbeat is asked for at most every {_MOST_HEARTBEAT} s"
        raise domain.Refused("INVALID_FIELD", rule, field="flow.heartbeat_seconds")
