"""Load: closed loops with a given number in flight, bounded in time, over raw gRPC so that the client costs little."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import grpc
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.ledger.ids import derive_request_id

TEXT = "x" * 256
_counter = iter(range(1 << 60))


def request_id() -> str:
    """A fresh UUIDv7."""
    now = time.time_ns()
    return derive_request_id(now // 1000, str(now), str(next(_counter)))


def send(conversation: str) -> pb.SendMessageRequest:
    """A message of 256 bytes."""
    said = pb.SendMessageRequest(request_id=request_id(), conversation_id=conversation)
    said.content.text = TEXT
    return said


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


Open = Callable[[], grpc.aio.StreamStreamCall]


async def echo_streams(open_stream: Open, streams: int, in_flight: int, seconds: float) -> Done:
    """Bidi echo, one message a frame, `in_flight` frames under way on each stream."""
    until = time.perf_counter() + seconds
    count = 0

    async def loop() -> None:
        nonlocal count
        call = open_stream()
        for _ in range(in_flight):
            await call.write(pb.ConverseRequest(sends=[send("echo")]))
        waiting = in_flight
        while waiting:
            await call.read()
            count += 1
            if time.perf_counter() < until:
                await call.write(pb.ConverseRequest(sends=[send("echo")]))
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
        await call.write(pb.ConverseRequest(sends=[send(target) for _ in range(in_flight)]))
        waiting = in_flight
        while waiting:
            answer = await call.read()
            results = len(answer.results)
            if any(result.HasField("error") for result in answer.results):
                raise RuntimeError(f"refused: {answer.results[0].error.message}")
            count += results
            waiting -= results
            if results and time.perf_counter() < until:
                await call.write(pb.ConverseRequest(sends=[send(target) for _ in range(results)]))
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
