"""Devices that follow a conversation over any number of streams, and hold the very bytes that came."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.integration.chat_world import User, reason_in, reason_of

SERVICE = "/tradewind.chat.v1.ChatService/"
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def _raw() -> Any:
    """A message of which field 2, the events of a WatchResponse and of a Delivery, and the deliveries of a ConverseResponse, is bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="raw.proto", package="raw")
    file.message_type.add(name="Raw").field.add(name="parts", number=2, type=_BYTES, label=_MANY)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("raw.Raw"))


Raw = _raw()


class Device:
    """One user's replica of a conversation: every event's bytes, from version 1 on.

    Attributes:
        held: what came, whatever streams it came over.
        since: how far the conversation was when the stream was opened.
        ended: why the stream ended by itself; empty while it has not.
    """

    def __init__(self, user_id: str, conversation_id: str) -> None:
        self.user_id, self.conversation_id = user_id, conversation_id
        self.held: list[bytes] = []
        self.since = 0
        self.ended = ""
        self._next = 0
        self._call: Any = None
        self._talks = False
        self._answers: dict[Any, Any] = {}

    @property
    def open(self) -> bool:
        return self._call is not None

    @property
    def talks(self) -> bool:
        """Whether it can say things over its stream."""
        return self._call is not None and self._talks

    async def connect(self, user: User, after: int, version: int, *, talks: bool) -> None:
        """Open a stream from a version on, at or before what is held."""
        await self.cut()
        self.since, self.ended, self._next, self._talks = version, "", after, talks
        if talks:
            self._call = user.channel.stream_stream(
                SERVICE + "Converse", request_serializer=pb.ConverseRequest.SerializeToString
            )(metadata=user.metadata)
            subscribe = pb.Subscribe(conversation_id=self.conversation_id, after_version=after)
            await self._call.write(pb.ConverseRequest(subscribe=[subscribe]))
        else:
            self._call = user.channel.unary_stream(
                SERVICE + "Watch", request_serializer=pb.WatchRequest.SerializeToString
            )(pb.WatchRequest(conversation_id=self.conversation_id, after_version=after), metadata=user.metadata)

    async def cut(self) -> None:
        """Lose the connection."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    async def catch_up(self, version: int, seconds: float = 60.0) -> None:
        """Read until everything up to a version is held, or the stream has ended."""
        async with asyncio.timeout(seconds):
            while self._next < version and not self.ended:
                await self._read()

    async def until_ended(self, at_most: int, seconds: float = 60.0) -> None:
        """Read until the stream ends, by when no more than so many versions may be held."""
        async with asyncio.timeout(seconds):
            while not self.ended:
                await self._read()
                assert len(self.held) <= at_most, "more than was said before it was removed"

    async def ask(self, frame: pb.ConverseRequest, name: Any, seconds: float = 60.0) -> Any:
        """Ask something over the stream, and read until it is answered."""
        await self._call.write(frame)
        async with asyncio.timeout(seconds):
            while name not in self._answers:
                await self._read()
        return self._answers.pop(name)

    async def _read(self) -> None:
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self.ended = reason_of(error) or error.code().name
            self._call = None
            return
        assert isinstance(data, bytes), "the stream ended, and nobody said why"
        if not self._talks:
            self._take(Raw.FromString(data).parts)
            return
        frame = pb.ConverseResponse.FromString(data)
        for delivery in Raw.FromString(data).parts:
            self._take(Raw.FromString(delivery).parts)
        self._answers.update({result.request_id: result for result in frame.results})
        self._answers.update({done.operation_id: done for done in frame.operation_results})
        for gone in frame.ended:
            self.ended = reason_in(gone.error)

    def _take(self, events: list[bytes]) -> None:
        for event in events:
            if self._next < len(self.held):
                assert self.held[self._next] == event, f"version {self._next + 1} is not what it was"
            else:
                self.held.append(event)
            self._next += 1
