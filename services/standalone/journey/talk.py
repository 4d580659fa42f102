"""Two people talk over Converse, and one of them is cut off in mid-stream: nothing may be lost, nothing said twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from tradewind.chat.v1.chat_pb2 import ConversationEvent, MessageContent
from tradewind.chat.v1.chat_service_pb2 import SendMessageRequest, SendResult
from tradewind.sdk import Session, SubscriptionEnded, Transient

from services.standalone.journey.cable import Cable
from services.standalone.journey.expect import expect, within

_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Line:
    """What somebody says; no two lines of a dialogue have the same text. ``torn``: its answer is lost with the connection."""

    request_id: str
    speaker: str
    text: str
    torn: bool = False


class Seat:
    """One person's end of a dialogue."""

    def __init__(self, name: str, conversation_id: str, session: Session) -> None:
        """Speak and listen over ``session``; use it as a context manager."""
        self.name = name
        self.events: list[ConversationEvent] = []
        self._conversation_id = conversation_id
        self._session = session
        self._changed = asyncio.Event()
        self._ear: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Seat:
        """Listen from the first event on."""
        self._session.subscribe(self._conversation_id)
        self._ear = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Listen no more."""
        if self._ear is not None:
            self._ear.cancel()
            await asyncio.gather(self._ear, return_exceptions=True)

    def lines(self) -> list[str]:
        """What people said, as this one heard it."""
        return [event.message.text for event in self.events if event.WhichOneof("event") == "message"]

    async def say(self, line: Line) -> asyncio.Future[int]:
        """Say a line; its version comes later. Raises TradewindError."""
        request = SendMessageRequest(
            request_id=line.request_id,
            conversation_id=self._conversation_id,
            content=MessageContent(text=line.text),
        )
        answer = await self._session.post(request)
        return asyncio.ensure_future(_version(answer))

    async def hears(self, text: str) -> None:
        """Wait until somebody said ``text``. Raises Unmet, TradewindError."""
        await within(f"{text!r} to be heard by the {self.name}", self._until(text))

    async def _until(self, text: str) -> None:
        while text not in self.lines():
            if self._ear is not None and self._ear.done():
                self._ear.result()
            self._changed.clear()
            await self._changed.wait()

    async def _listen(self) -> None:
        try:
            while True:
                try:
                    await self._hear()
                except SubscriptionEnded as error:
                    if not isinstance(error.__cause__, Transient):
                        raise
                # The server could not look just then; it is asked again for what comes after the last version heard.
                await asyncio.sleep(_PAUSE_SECONDS)
                self._session.subscribe(self._conversation_id, after=len(self.events))
        finally:
            self._changed.set()

    async def _hear(self) -> None:
        async for _, event in self._session:
            expect(f"the version the {self.name} gets next", len(self.events) + 1, event.version)
            self.events.append(event)
            self._changed.set()


async def talk(lines: Sequence[Line], near: Seat, far: Seat, cable: Cable) -> list[int]:
    """Have ``near`` and ``far``, whose connection is ``cable``, say their lines in turn; gives the lines' versions.

    Raises Unmet unless both heard the same events, each line once and in order; TradewindError.
    """
    seats = {near.name: (near, far), far.name: (far, near)}
    answers = []
    for line in lines:
        speaker, listener = seats[line.speaker]
        if line.torn:
            cable.mute()
        answers.append(await speaker.say(line))
        await listener.hears(line.text)
        if line.torn:
            # Said and stored, as the other has heard it; the speaker does not know, and must find out.
            cable.cut()
    versions = [
        await within(f"the answer to {line.text!r}", answer) for line, answer in zip(lines, answers, strict=True)
    ]
    await near.hears(lines[-1].text)
    await far.hears(lines[-1].text)
    _expect_same(lines, versions, near, far)
    return versions


def _expect_same(lines: Sequence[Line], versions: Sequence[int], near: Seat, far: Seat) -> None:
    for one, other in zip(near.events, far.events, strict=False):
        expect(f"version {one.version} as both heard it", one.SerializeToString(), other.SerializeToString())
    for seat in (near, far):
        expect(f"the lines the {seat.name} heard", [line.text for line in lines], seat.lines())
        said = [event.version for event in seat.events if event.WhichOneof("event") == "message"]
        expect(f"the versions of the lines the {seat.name} heard", list(versions), said)


async def _version(answer: asyncio.Future[SendResult]) -> int:
    return (await answer).version
