"""Everything over one stream: sends and subscriptions on Converse, resumed on the next stream whenever one breaks."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import grpc
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.drills.fields import repeated, text
from tests.drills.load.calling import Pace, outcome_of, reason_in, reason_of
from tests.drills.load.chat import CHAT, PEOPLE, Watching, bearer, message
from tests.drills.records import ACKNOWLEDGED, UNKNOWN, Call, Recorder, digest
from tests.drills.stage import Stage

_UNANSWERED = 8
_Stream = Any  # grpc.aio.StreamStreamCall, whose reads are untyped
_CODES = {int(code.value[0]): code for code in grpc.StatusCode}


class Conversing:
    """One client: it keeps what is unanswered and sends it again, under the same ids, on the next stream.

    Attributes:
        places: its reader of each group.
    """

    def __init__(self, recorder: Recorder, pace: Pace, seed: str, groups: Sequence[str]) -> None:
        self._recorder, self._pace, self._seed = recorder, pace, seed
        self._rng = random.Random(seed)
        self._unanswered: dict[str, tuple[pb.SendMessageRequest, float]] = {}
        self._again: list[pb.SendMessageRequest] = []
        self.places = {group: Watching(f"{seed}/{group}", group) for group in groups}

    @property
    def settled(self) -> bool:
        """True once nothing more is sent or waited for."""
        return self._pace.over or (self._pace.ending.is_set() and not self._unanswered and not self._again)

    async def run(self, stage: Stage, channel: grpc.aio.Channel) -> None:
        """Talks and listens until cancelled."""
        call: Any = channel.stream_stream(CHAT + "Converse", request_serializer=pb.ConverseRequest.SerializeToString)
        metadata = bearer(stage, self._rng.choice(PEOPLE), "customer")
        try:
            while True:
                stream = call(metadata=metadata)
                try:
                    self._broken(await self._one_stream(stream))
                except grpc.aio.AioRpcError as error:
                    self._broken(reason_of(error))
                except asyncio.InvalidStateError:
                    self._broken("CLOSED")
                finally:
                    stream.cancel()
                await asyncio.sleep(0.1)
        finally:
            self._broken("ENDED")

    async def _one_stream(self, stream: _Stream) -> str:
        """Uses a stream until it ends; answers why it did."""
        first = pb.ConverseRequest()
        for place in self.places.values():
            place.streams += 1
            first.subscribe.add(conversation_id=place.conversation, after_version=place.after)
        await stream.write(first)
        while True:
            await self._send(stream)
            try:
                async with asyncio.timeout(self._pace.deadline + 2.0 if self._unanswered else None):
                    frame = await stream.read()
            except TimeoutError:
                return "SILENCE"
            if not isinstance(frame, bytes):
                return "EOF"
            if over := self._take(frame):
                return over

    async def _send(self, stream: _Stream) -> None:
        sends, self._again = self._again, []
        groups = list(self.places)
        while not self._pace.ending.is_set() and len(self._unanswered) + len(sends) < _UNANSWERED:
            sends.append(message(self._rng, self._rng.choice(groups), 4))
        if sends:
            now = self._recorder.now()
            self._unanswered |= {send.request_id: (send, now) for send in sends}
            await self._pace.pause(self._rng)
            await stream.write(pb.ConverseRequest(sends=sends))

    def _take(self, frame: bytes) -> str:
        """Takes one frame; answers why the stream is over, or nothing."""
        for delivery in repeated(frame, 2):
            self.places[text(delivery, 1)].take(self._recorder, repeated(delivery, 2))
        for raw in repeated(frame, 1):
            self._answered(pb.SendResult.FromString(raw))
        if repeated(frame, 3):
            return "SUBSCRIPTION_ENDED"
        return "GOING_AWAY" if repeated(frame, 4) else ""

    def _answered(self, result: pb.SendResult) -> None:
        found = self._unanswered.pop(result.request_id, None)
        if found is None:
            return
        if not result.HasField("error"):
            self._note(*found, ACKNOWLEDGED, int(result.version))
            return
        code = _CODES[result.error.code]
        outcome = outcome_of(code)
        self._note(*found, outcome, reason=f"{code.name} {reason_in(result.error)}".rstrip())
        if (outcome == UNKNOWN or code is grpc.StatusCode.RESOURCE_EXHAUSTED) and not self._gives_up():
            self._again.append(found[0])

    def _gives_up(self) -> bool:
        return self._pace.over or self._rng.random() < self._pace.give_up

    def _broken(self, reason: str) -> None:
        """The stream is gone: of everything unanswered the outcome is unknown."""
        for request, start in self._unanswered.values():
            self._note(request, start, UNKNOWN, reason=reason)
            if not self._gives_up():
                self._again.append(request)
        self._unanswered.clear()

    def _note(
        self, request: pb.SendMessageRequest, start: float, outcome: str, version: int = 0, reason: str = ""
    ) -> None:
        self._recorder.add(
            Call(
                "chat.converse", self._seed, request.conversation_id, request.request_id, digest(request.content.text),
                start, self._recorder.now(), outcome, version, reason,
            )
        )  # fmt: skip
