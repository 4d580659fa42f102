"""Ten thousand streams: what each costs while nothing happens, and what one that stops reading costs the others."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.bench.chat import serving
from tests.bench.load import TEXT, request_id, send
from tests.bench.report import Result
from tests.bench.stack import Stack

STREAMS, A_CONNECTION = 10_000, 100
IDLE_SECONDS = 10.0
ROUNDS, ROUND_SECONDS, RATE = 4, 5.0, 50
CONVERSE = "/tradewind.chat.v1.ChatService/Converse"
_STAMP = re.compile(rb"@(\d{19})")


class Crowd:
    """Users on a connection each, with conversations of their own that all their streams hear."""

    def __init__(self, stack: Stack, address: str) -> None:
        self.users = [
            (("authorization", f"Bearer {stack.token(f'u{number}', 'customer')}"),)
            for number in range(STREAMS // A_CONNECTION)
        ]
        self.targets: list[str] = []
        self._address = address

    async def begin(self) -> list[bytes]:
        """Makes the conversations; gives each user's first frame."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            create = channel.unary_unary(
                "/tradewind.chat.v1.ChatService/CreateConversation",
                pb.CreateConversationRequest.SerializeToString,
                pb.CreateConversationResponse.FromString,
            )
            for user in self.users:
                wanted = pb.CreateConversationRequest(request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP)
                self.targets.append((await create(wanted, metadata=user)).conversation.conversation_id)
        return [
            pb.ConverseRequest(subscribe=[pb.Subscribe(conversation_id=target)]).SerializeToString()
            for target in self.targets
        ]


@asynccontextmanager
async def streams(
    address: str, method: str, users: Sequence[Any], openings: Sequence[bytes]
) -> AsyncIterator[list[Any]]:
    """Opens all streams, each of which has given its first frame."""
    channels = [grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in users]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    calls: list[Any] = []
    for _ in range(A_CONNECTION):
        for channel, user, opening in zip(channels, users, openings, strict=True):
            call: Any = channel.stream_stream(method, None, None)(metadata=user)
            await call.write(opening)
            await call.read()
            calls.append(call)
    try:
        yield calls
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*(channel.close() for channel in channels))


async def idle(stack: Stack, chat: str, echo: str, crowd: Crowd, openings: Sequence[bytes]) -> Result:
    """Memory of each stream, beside one of a bare server, and CPU of all."""
    bare, _ = await _idle(stack, "echo", echo, "/bench.Echo/Bidi", crowd, openings)
    each, cpu = await _idle(stack, "chat", chat, CONVERSE, crowd, openings)
    return Result(
        f"{STREAMS:,} idle streams, bytes of server memory each", each, "bytes", "<= 40 KB, < 1 % CPU",
        each <= 40_000 and cpu < 0.01, "bare grpc.aio", bare, each / bare, more={"CPU while idle, %": cpu * 100},
    )  # fmt: skip


async def _idle(
    stack: Stack, name: str, address: str, method: str, crowd: Crowd, openings: Sequence[bytes]
) -> tuple[float, float]:
    before = stack.resident_bytes(name)
    async with streams(address, method, crowd.users, openings) as calls:
        await asyncio.sleep(2.0)
        each, cpu = (stack.resident_bytes(name) - before) / len(calls), stack.cpu(name)
        await asyncio.sleep(IDLE_SECONDS)
        return each, (stack.cpu(name) - cpu) / IDLE_SECONDS


async def stalled(stack: Stack, chat: str, crowd: Crowd, openings: Sequence[bytes]) -> Result:
    """How late a word comes to others while one of the streams does not read, beside when all read; in turns."""
    async with streams(chat, CONVERSE, crowd.users, openings) as calls:
        late: list[float] = []
        readers = [asyncio.create_task(_read(call, late)) for call in calls[1:]]
        lone = calls[0]
        all_read: list[float] = []
        one_stalls: list[float] = []
        before = stack.resident_bytes("chat")
        for turn in range(2 * ROUNDS):
            late.clear()
            reader = None if turn % 2 else asyncio.create_task(_read(lone, []))
            await _talk(chat, crowd)
            (one_stalls if turn % 2 else all_read).append(_p99(late))
            if reader is not None:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
        grown = stack.resident_bytes("chat") - before
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    moved = sorted(one_stalls)[ROUNDS // 2] / sorted(all_read)[ROUNDS // 2] - 1
    return Result(
        f"one of {STREAMS:,} streams stops reading: the others' p99 moves by, %", moved * 100, "%", "< 5 %", moved < 0.05,
        more={
            "p99 ms while all read": sorted(all_read)[ROUNDS // 2],
            "p99 ms while one stalls": sorted(one_stalls)[ROUNDS // 2],
            "server memory grown, MB": grown / 1e6,
        },
    )  # fmt: skip


async def _read(call: Any, late: list[float]) -> None:
    while (data := await call.read()) is not grpc.aio.EOF:
        now = time.time_ns()
        late.extend((now - int(sent)) / 1e6 for sent in _STAMP.findall(data))


async def _talk(chat: str, crowd: Crowd) -> None:
    """The first user, whose streams hear it, says so much a second."""
    async with grpc.aio.insecure_channel(chat, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.stream_stream(CONVERSE, None, None)(metadata=crowd.users[0])
        answers = asyncio.create_task(_read(call, []))
        started = time.perf_counter()
        for number in range(int(RATE * ROUND_SECONDS)):
            await asyncio.sleep(max(0.0, started + number / RATE - time.perf_counter()))
            said = send(crowd.targets[0])
            said.content.text = f"@{time.time_ns():019d}" + TEXT[20:]
            await call.write(pb.ConverseRequest(sends=[said]).SerializeToString())
        await asyncio.sleep(0.5)
        answers.cancel()
        await asyncio.gather(answers, return_exceptions=True)
        call.cancel()


def _p99(late: list[float]) -> float:
    return sorted(late)[int(len(late) * 0.99)]


async def measure(stack: Stack) -> list[Result]:
    """Both."""
    chat = await stack.serve("chat", "services.chat", serving(stack))
    echo = await stack.serve("echo", "tests.bench.echo")
    crowd = Crowd(stack, chat)
    openings = await crowd.begin()
    return [await idle(stack, chat, echo, crowd, openings), await stalled(stack, chat, crowd, openings)]
