"""What else is done over a Converse stream: edits, deletions, reactions, pins, forwards, how far one has read, that one types.

Operations of a stream are done one after the other by one loop, which begins with the first of them; a stream without operations costs
nothing. Sends do not wait for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1.presence_service_pb2 import SetTypingRequest, SetTypingResponse

from services.chat import commands, receipts, wire
from services.chat.access import actor_of
from services.chat.amending import Amending
from services.chat.changes import Changes
from services.chat.domain import Refused
from services.chat.forwarding import Forwarding
from services.chat.messaging import Messaging
from services.ledger.ending import end
from services.ledger.ledger import Ledger
from services.runtime.call import Call
from services.runtime.errors import status_of

MOST_WAITING: Final = 256
"""Operations of one stream that may be unanswered before its next frame is read."""


class Done:
    """What an operation came to: whatever of it is not the default is told."""

    __slots__ = ("sent_us", "unread", "version")

    def __init__(self, version: int = 0, sent_us: int = 0, unread: pb.Unread | None = None) -> None:
        """Say what there is to say."""
        self.version = version
        self.sent_us = sent_us
        self.unread = unread


SetTyping = Callable[[SetTypingRequest, Call], Awaitable[SetTypingResponse]]
"""Tells those who listen that the caller types."""


class Performer:
    """Does operations as the unary rpcs do them."""

    def __init__(self, ledger: Ledger, messaging: Messaging, changes: Changes, set_typing: SetTyping) -> None:
        """Do things in the conversations that ``ledger`` holds."""
        self._ledger = ledger
        self._amending = Amending(ledger, messaging)
        self._forwarding = Forwarding(ledger, messaging)
        self._changes = changes
        self._set_typing = set_typing

    async def perform(self, operation: pb.Operation, call: Call) -> Done:
        """Do one operation. Raises what its rpc is refused with."""
        which = operation.WhichOneof("operation") or ""
        request: Message = getattr(operation, which)
        return await self._DOES[which](self, request, call)

    async def _edit(self, request: pb.EditMessageRequest, call: Call) -> Done:
        return Done(await self._amending.edit(request, call))

    async def _delete(self, request: pb.DeleteMessageRequest, call: Call) -> Done:
        await self._amending.delete(request, call)
        return Done()

    async def _forward(self, request: pb.ForwardMessageRequest, call: Call) -> Done:
        return Done(*await self._forwarding.forward(request, call))

    async def _pin(self, request: pb.PinMessageRequest, call: Call) -> Done:
        await self._amending.pin(request, call)
        return Done()

    async def _unpin(self, request: pb.UnpinMessageRequest, call: Call) -> Done:
        await self._changes.apply(request, call, commands.unpin)
        return Done()

    async def _react(self, request: pb.AddReactionRequest | pb.RemoveReactionRequest, call: Call) -> Done:
        await self._amending.react(request, call)
        return Done()

    async def _mark(self, request: pb.MarkMessagesRequest, call: Call) -> Done:
        marked = await receipts.mark(self._ledger, request, actor_of(call.caller))
        return Done(unread=marked.unread)

    async def _typing(self, notice: pb.TypingNotice, call: Call) -> Done:
        request = SetTypingRequest(conversation_id=notice.conversation_id, stopped=notice.stopped)
        await self._set_typing(request, call)
        return Done()

    _DOES: Final[dict[str, Callable[..., Awaitable[Done]]]] = {
        "edit": _edit,
        "delete": _delete,
        "forward": _forward,
        "pin": _pin,
        "unpin": _unpin,
        "add_reaction": _react,
        "remove_reaction": _react,
        "mark": _mark,
        "typing": _typing,
    }


class Operations:
    """The operations of one stream.

    Args:
        answer: takes each answer, encoded as a field of ConverseResponse.
        seconds: how long one may take.
    """

    def __init__(self, performer: Performer, call: Call, seconds: float, answer: Callable[[bytes], None]) -> None:
        """Serve one stream."""
        self._performer = performer
        self._call = call
        self._seconds = seconds
        self._answer = answer
        self._waiting: deque[pb.Operation] = deque()
        self._loop: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    @property
    def under_way(self) -> bool:
        """Whether some are unanswered."""
        return bool(self._waiting)

    def add(self, operation: pb.Operation) -> None:
        """Have one done after those before it."""
        self._waiting.append(operation)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run(), name="chat-operations")

    async def room(self) -> None:
        """Wait until the stream may bring more."""
        while len(self._waiting) >= MOST_WAITING:
            self._room.clear()
            await self._room.wait()

    async def close(self) -> None:
        """Stop; what is under way is settled by doing it again elsewhere with the same request id."""
        if self._loop is not None:
            await end([self._loop])

    async def _run(self) -> None:
        while self._waiting:
            operation = self._waiting[0]
            self._answer(await self._answered(operation))
            # Only now it is answered: until then the stream is not over.
            self._waiting.popleft()
            self._room.set()

    async def _answered(self, operation: pb.Operation) -> bytes:
        try:
            self._call.validate(operation)
            async with asyncio.timeout(self._seconds):
                done = await self._performer.perform(operation, self._call.within(self._seconds))
        except TimeoutError:
            late = Refused("DEADLINE_EXCEEDED", "the operation took too long; its request id settles what became of it")
            return refusal(operation.operation_id, status_of(late))
        except Exception as error:  # noqa: BLE001 (whatever it is, it is this operation's answer)
            return refusal(operation.operation_id, status_of(error))
        return _encoded(pb.OperationResult(operation_id=operation.operation_id), done)


def refusal(operation_id: int, error: status_pb2.Status) -> bytes:
    """Encode the answer to an operation that was refused, as a field of ConverseResponse."""
    result = pb.OperationResult(operation_id=operation_id, error=error)
    return pb.ConverseResponse(operation_results=[result]).SerializeToString()


def _encoded(result: pb.OperationResult, done: Done) -> bytes:
    result.version = done.version
    if done.sent_us:
        sent: Timestamp = wire.timestamp(done.sent_us)
        result.send_time.CopyFrom(sent)
    if done.unread is not None:
        result.unread.CopyFrom(done.unread)
    return pb.ConverseResponse(operation_results=[result]).SerializeToString()
