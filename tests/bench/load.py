"""Load: closed loops with a given number in flight, bounded in time, over raw gRPC so that the client costs little."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tradewind.chat.v1 import chat_service_pb2 as pb

TEXT = "x" * 256
_counter = iter(range(1 << 60))
_PROCESS = f"{os.getpid() & 0xFFF:03x}"


def request_id() -> str:
    """A fresh UUIDv7: the time, this process, a counter."""
    time_ = f"{time.time_ns() // 1_000_000:012x}"
    number = f"{next(_counter):012x}"
    return f"{time_[:8]}-{time_[8:]}-7{_PROCESS}-8000-{number}"


def send(conversation: str) -> pb.SendMessageRequest:
    """A message of 256 bytes."""
    said = pb.SendMessageRequest(request_id=request_id(), conversation_id=conversation)
    said.content.text = TEXT
    return said


def frame(conversation: str, sends: int) -> bytes:
    """A Converse frame of so many sends, encoded by hand: the client should cost little beside what is measured."""
    rest = b"\x12" + bytes((len(conversation),)) + conversation.encode() + _CONTENT
    length = 38 + len(rest)  # a request id of 36 characters with its tag and length
    head = b"\x1a" + bytes((length & 127 | 128, length >> 7)) + b"\x0a\x24"
    return b"".join([part for _ in range(sends) for part in (head, request_id().encode(), rest)])


_CONTENT = b"\x1a\x83\x02\x0a\x80\x02" + TEXT.encode()
"""Field 3 of SendMessageRequest, with the text of 256 bytes."""


@dataclass
class Done:
    """What a load did: operations, seconds, and the latencies where they were taken."""

    count: int
    seconds: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.count / self.seconds


async def unary(
    call: Callable[[pb.SendMessageRequest], Awaitable[object]], targets: list[str], in_flight: int, seconds: float
) -> Done:
    """Keeps `in_flight` unary calls under way."""
    until = time.perf_counter() + seconds
    count = 0

    async def loop(target: str) -> None:
        nonlocal count
        while time.perf_counter() < until:
            await call(send(target))
            count += 1

    started = time.perf_counter()
    await asyncio.gather(*(loop(targets[i % len(targets)]) for i in range(in_flight)))
    return Done(count, time.perf_counter() - started)


Stream = Any  # grpc.aio.StreamStreamCall, whose reads are untyped
Open = Callable[[], Stream]


async def echo_streams(open_stream: Open, streams: int, in_flight: int, seconds: float) -> Done:
    """Bidi echo, one message a frame, `in_flight` frames under way on each stream."""
    until = time.perf_counter() + seconds
    count = 0

    async def loop() -> None:
        nonlocal count
        call = open_stream()
        for _ in range(in_flight):
            await call.write(frame("echo", 1))
        waiting = in_flight
        while waiting:
            await call.read()
            count += 1
            if time.perf_counter() < until:
                await call.write(frame("echo", 1))
            else:
                waiting -= 1
        await call.done_writing()
        call.cancel()

    started = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(streams)))
    return Done(count, time.perf_counter() - started)


async def converse_streams(open_stream: Open, targets: list[str], streams: int, in_flight: int, seconds: float) -> Done:
    """Durable sends over Converse, `in_flight` under way on each stream; what is answered together is sent on together."""
    until = time.perf_counter() + seconds
    count = 0

    async def loop(target: str) -> None:
        nonlocal count
        call = open_stream()
        await call.write(frame(target, in_flight))
        waiting = in_flight
        while waiting:
            answer = await call.read()
            results = len(answer.results)
            if any(result.HasField("error") for result in answer.results):
                raise RuntimeError(f"refused: {answer.results[0].error.message}")
            count += results
            waiting -= results
            if results and time.perf_counter() < until:
                await call.write(frame(target, results))
                waiting += results
        await call.done_writing()
        call.cancel()

    started = time.perf_counter()
    await asyncio.gather(*(loop(targets[i % len(targets)]) for i in range(streams)))
    return Done(count, time.perf_counter() - started)


def spread(items: list[str], parts: int) -> Iterator[list[str]]:
    """Splits a list into parts as equal as can be."""
    for index in range(parts):
        yield items[index::parts]
