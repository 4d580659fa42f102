"""A conversation of many conversations: `Converse` as a session that outlives its connections."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, cast

from tradewind.chat.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tradewind.sdk._chat_messages import content_of
from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import TradewindError, from_status
from tradewind.sdk._hearing import Hearing
from tradewind.sdk._news import News
from tradewind.sdk._pipeline import Pipeline, Reply
from tradewind.sdk._request_ids import new_request_id

_SILENT_FOR = 3.5

_Request = chat_service_pb2.SendMessageRequest | chat_service_pb2.Operation
_Answer = chat_service_pb2.SendResult | chat_service_pb2.OperationResult


class Session:
    """Sends and hears over one stream; made by `client.chat.converse()`, used with `async with`.

    Iterating yields `(conversation_id, event)`. Events of one conversation come in order, each once, without a gap, over any number of
    reconnects. A reader that is slow, or does not read at all, holds at most about `buffer` events and does not keep sends from being
    answered. Where a subscription ends, iterating raises SubscriptionEnded once and can be begun again for the others.
    """

    frame_items = 256

    def __init__(self, connection: Connection, *, window: int, buffer: int, timeout: float, heartbeat: int) -> None:
        self._stub = chat_service_pb2_grpc.ChatServiceStub(connection.channel)
        self._pipeline: Pipeline[_Request, _Answer] = Pipeline(connection, self, window, timeout)
        self._operations = itertools.count(1)
        self._beats: asyncio.Task[None] | None = None
        self._flow: chat_service_pb2.Flow | None = None
        self._heartbeat = heartbeat
        self._heard = 0.0
        self._hearing = Hearing(buffer, self._pipeline.poke)
        self.news = News(connection.policy, self._pipeline.poke, lambda: self._pipeline.error)
        """Who types, who is there, how the inbox is."""

    async def __aenter__(self) -> Self:
        """Connect."""
        self._pipeline.start()
        self._beats = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Wait for what was sent, unless an exception passes; then close."""
        try:
            if error is None:
                await self._pipeline.flush()
        finally:
            if self._beats is not None:
                self._beats.cancel()
            await self._pipeline.close()

    async def send(
        self,
        conversation_id: str,
        text: str,
        *,
        reply_to: Iterable[int] = (),
        thread_root: int = 0,
        mentions: Iterable[str] = (),
        mention_all: bool = False,
        mention_here: bool = False,
        parts: Iterable[chat_pb2.Part] = (),
        attributes: Mapping[str, str] | None = None,
        sender_id: str = "",
        request_id: str | None = None,
    ) -> int:
        """Say something and wait until it cannot be lost; gives its version. Raises TradewindError. See `Chat.send_message`."""
        content = content_of(
            text,
            reply_to=reply_to,
            thread_root=thread_root,
            mentions=mentions,
            mention_all=mention_all,
            mention_here=mention_here,
            parts=parts,
            attributes=attributes,
        )
        answer = await self.post(
            chat_service_pb2.SendMessageRequest(
                request_id=request_id or new_request_id(),
                conversation_id=conversation_id,
                content=content,
                sender_id=sender_id,
            )
        )
        return (await answer).version

    async def post(self, request: chat_service_pb2.SendMessageRequest) -> asyncio.Future[chat_service_pb2.SendResult]:
        """Say something without waiting for its answer; waits only while the window is full.

        Posts to one conversation keep their order as long as none of them fails for now. Raises InvalidArgument, or why the session ended;
        the future raises TradewindError.
        """
        return cast("asyncio.Future[chat_service_pb2.SendResult]", await self._pipeline.post(request))

    async def edit(
        self, conversation_id: str, version: int, content: chat_pb2.MessageContent, *, request_id: str | None = None
    ) -> int:
        """Say something else in place of what one said; gives the event's version. Raises TradewindError."""
        request = chat_service_pb2.EditMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=version,
            content=content,
        )
        return (await self.operate(chat_service_pb2.Operation(edit=request))).version

    async def delete(
        self, conversation_id: str, version: int, *, for_me: bool = False, request_id: str | None = None
    ) -> None:
        """Delete a message, for all or for oneself alone. Raises TradewindError."""
        request = chat_service_pb2.DeleteMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=version,
            for_me=for_me,
        )
        await self.operate(chat_service_pb2.Operation(delete=request))

    async def react(
        self, conversation_id: str, version: int, emoji: str, *, remove: bool = False, request_id: str | None = None
    ) -> None:
        """Give a message an emoji, or take it back. Raises TradewindError."""
        operation, name = chat_service_pb2.Operation(), "remove_reaction" if remove else "add_reaction"
        request = getattr(operation, name)
        request.request_id = request_id or new_request_id()
        request.conversation_id, request.message_version, request.emoji = conversation_id, version, emoji
        await self.operate(operation)

    async def mark(self, conversation_id: str, *, read: int = 0, delivered: int = 0) -> chat_service_pb2.Unread:
        """Say how far one has read, and one's devices were given everything; gives what is unread. Raises TradewindError."""
        request = chat_service_pb2.MarkMessagesRequest(
            conversation_id=conversation_id, read_version=read, delivered_version=delivered
        )
        return (await self.operate(chat_service_pb2.Operation(mark=request))).unread

    async def typing(self, conversation_id: str, *, stopped: bool = False) -> None:
        """Say that one types, or no more; repeat it every few seconds while it goes on. Raises TradewindError."""
        notice = chat_service_pb2.TypingNotice(conversation_id=conversation_id, stopped=stopped)
        await self.operate(chat_service_pb2.Operation(typing=notice))

    async def operate(self, operation: chat_service_pb2.Operation) -> chat_service_pb2.OperationResult:
        """Do something to messages and wait for its answer; the operation is named here. Raises TradewindError."""
        operation.operation_id = next(self._operations)
        answer = await (await self._pipeline.post(operation))
        return cast(chat_service_pb2.OperationResult, answer)

    async def flush(self) -> None:
        """Wait until all that was posted is answered or given up."""
        await self._pipeline.flush()

    @property
    def error(self) -> TradewindError | None:
        """Why the session ended by itself, or None while it goes on."""
        return self._pipeline.error

    def subscribe(self, conversation_id: str, after: int = 0) -> None:
        """Hear a conversation from the event after version `after` on; again for one that is heard moves its place."""
        self._hearing.subscribe(conversation_id, after)

    def unsubscribe(self, conversation_id: str) -> None:
        """Hear a conversation no more. What has arrived already is still given."""
        self._hearing.unsubscribe(conversation_id)
        self.news.quiet(conversation_id)

    def __aiter__(self) -> Self:
        """Iterate over what happens in the conversations subscribed to."""
        return self

    async def __anext__(self) -> tuple[str, chat_pb2.ConversationEvent]:
        """Wait for the next event. Raises SubscriptionEnded, or why the session ended."""
        return await self._hearing.take(lambda: self._pipeline.error)

    # --- what the pipeline asks (see Wire) ---

    def name(self, request: _Request) -> str:
        """Name a request by its id."""
        if isinstance(request, chat_service_pb2.Operation):
            return str(request.operation_id)
        return request.request_id

    def open(self, metadata: Any) -> Any:
        """Begin a stream."""
        return self._stub.Converse(metadata=metadata)

    def connected(self) -> None:
        """Say every subscription again, from where it is, and how often to speak."""
        self._flow = chat_service_pb2.Flow(heartbeat_seconds=self._heartbeat)
        self._heard = asyncio.get_running_loop().time()
        self._hearing.connected()
        self.news.connected()

    def has_more(self) -> bool:
        """Whether subscriptions wait to be said, or it is time to say that one is there."""
        return self._hearing.has_more() or self.news.has_more() or self._flow is not None

    def frame(self, requests: list[_Request]) -> chat_service_pb2.ConverseRequest:
        """Put requests and wishes into a frame."""
        frame = chat_service_pb2.ConverseRequest()
        for request in requests:
            if isinstance(request, chat_service_pb2.Operation):
                frame.operations.append(request)
            else:
                frame.sends.append(request)
        if self._flow is not None:
            frame.flow.CopyFrom(self._flow)
            self._flow = None
        self._hearing.say(frame)
        self.news.say(frame)
        return frame

    def read(self, message: chat_service_pb2.ConverseResponse) -> tuple[list[Reply[_Answer]], int]:
        """Take a frame. Raises VersionGap."""
        self._heard = asyncio.get_running_loop().time()
        for delivery in message.deliveries:
            self._hearing.deliver(delivery)
        for ended in message.ended:
            self._hearing.end(ended.conversation_id, from_status(ended.error))
            self.news.quiet(ended.conversation_id)
        for packed in message.news:
            self.news.hear(packed)
        for over in message.news_ended:
            self.news.end(over)
        replies: list[Reply[_Answer]] = [
            Reply(r.request_id, r, r.error if r.HasField("error") else None) for r in message.results
        ]
        replies += [
            Reply(str(r.operation_id), r, r.error if r.HasField("error") else None) for r in message.operation_results
        ]
        away = max(1, message.going_away.reconnect_after_ms) if message.HasField("going_away") else 0
        return replies, away

    def ended(self) -> None:
        """Wake the reader: there will be nothing more."""
        self._hearing.wake()
        self.news.wake()

    # --- inside ---

    async def _beat(self) -> None:
        """Say from time to time that one is there, and leave a stream whose server says nothing any more."""
        while True:
            await asyncio.sleep(self._heartbeat)
            if self._heard and asyncio.get_running_loop().time() - self._heard > _SILENT_FOR * self._heartbeat:
                self._pipeline.leave()
            self._flow = self._flow or chat_service_pb2.Flow()
            self._pipeline.poke()
