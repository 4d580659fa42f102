"""Chat beside bare gRPC: unary sends, sends over Converse, and fan-out."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import chat_service_pb2_grpc as rpc

from tests.bench.load import Done, Stream, converse_streams, echo_streams, frame, request_id, unary
from tests.bench.report import Result, Round, compared
from tests.bench.stack import Stack

ROUNDS = 3
SECONDS = 3.0
WATCHERS = 50
HOT = 25_000
FAN_OUT = 900_000


def serving(stack: Stack) -> dict[str, str]:
    """Settings of a process that serves calls and seals what is said; another follows the log for the search index, as docs/chat.md
    asks for under load.
    """
    key = stack.folder / "persons.key"
    if not key.exists():
        key.write_text(secrets.token_hex(32))
    return {
        "TRADEWIND_ORDER_EVENTS": "false",
        "TRADEWIND_SEARCH": "reading",
        "TRADEWIND_PERSON_KEY_FILE": str(key),
    }


class Chat:
    """A running Chat, a bare echo beside it, and conversations to talk in."""

    def __init__(self, stack: Stack, chat: str, echo: str) -> None:
        self.stack = stack
        self.channel = grpc.aio.insecure_channel(chat)
        self.echo = grpc.aio.insecure_channel(echo)
        self.metadata = (("authorization", f"Bearer {stack.token('ann', 'customer')}"),)
        self.stub = rpc.ChatServiceStub(self.channel)
        self._open: Any = self.channel.stream_stream(
            "/tradewind.chat.v1.ChatService/Converse", None, pb.ConverseResponse.FromString
        )

    def converse(self) -> Stream:
        """Opens a stream; its frames are written as bytes."""
        return self._open(metadata=self.metadata)

    async def conversation(self) -> str:
        """A new group."""
        made = await self.stub.CreateConversation(
            pb.CreateConversationRequest(
                request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP, member_ids=["bob"]
            ),
            metadata=self.metadata,
        )
        return str(made.conversation.conversation_id)

    async def rounds(
        self, ours: Callable[[], Awaitable[Done]], theirs: Callable[[], Awaitable[Done]]
    ) -> tuple[list[Round], list[Round]]:
        """Both in turns, after a warm-up."""
        mine: list[Round] = []
        bare: list[Round] = []
        for turn in range(ROUNDS + 1):
            bare_round = await self._round("echo", theirs)
            my_round = await self._round("chat", ours)
            if turn:
                bare.append(bare_round)
                mine.append(my_round)
        return mine, bare

    async def _round(self, process: str, work: Callable[[], Awaitable[Done]]) -> Round:
        before = self.stack.cpu(process)
        done = await work()
        return Round(done.rate, (self.stack.cpu(process) - before) / max(1, done.count) * 1e6)


@asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[Chat]:
    """Starts Chat and the echo."""
    chat = await stack.serve("chat", "services.chat", serving(stack))
    echo = await stack.serve("echo", "tests.bench.echo")
    made = Chat(stack, chat, echo)
    yield made
    await made.channel.close()
    await made.echo.close()


async def unary_sends(chat: Chat) -> Result:
    """64 unary sends in flight over 32 conversations, beside 64 unary echoes."""
    targets = [await chat.conversation() for _ in range(32)]
    echo = chat.echo.unary_unary(
        "/bench.Echo/Unary", pb.SendMessageRequest.SerializeToString, pb.SendMessageResponse.FromString
    )

    async def ours() -> Done:
        return await unary(lambda said: chat.stub.SendMessage(said, metadata=chat.metadata), targets, 64, SECONDS)

    async def theirs() -> Done:
        return await unary(echo, targets, 64, SECONDS)

    mine, bare = await chat.rounds(ours, theirs)
    return compared("durable unary sends, 64 in flight", "/s", mine, bare, "bare unary echo", 0.6)


async def converse_sends(chat: Chat, conversations: int, streams: int, in_flight: int, at_least: float) -> Result:
    """Durable sends over Converse beside a bidi echo with one message a frame, the same streams and in flight."""
    targets = [await chat.conversation() for _ in range(conversations)]
    open_echo: Any = chat.echo.stream_stream("/bench.Echo/Bidi", None, pb.ConverseRequest.FromString)

    async def ours() -> Done:
        return await converse_streams(chat.converse, targets, streams, in_flight, SECONDS)

    async def theirs() -> Done:
        return await echo_streams(open_echo, streams, in_flight, SECONDS)

    mine, bare = await chat.rounds(ours, theirs)
    what = "one hot conversation" if conversations == 1 else f"{conversations} conversations"
    name = f"durable sends over Converse, {what}, {streams} streams x {in_flight}"
    found = compared(name, "/s", mine, bare, "bare bidi echo", at_least)
    if conversations == 1:
        found.mark, found.reached = f">= {HOT:,}/s", found.rate >= HOT
    return found


async def fan_out(chat: Chat) -> Result:
    """50 watchers of one conversation, 4 senders with 64 in flight: deliveries per second of server CPU."""
    target = await chat.conversation()
    counts = [0] * WATCHERS
    watch = chat.channel.unary_stream(
        "/tradewind.chat.v1.ChatService/Watch", pb.WatchRequest.SerializeToString, response_deserializer=bytes
    )

    async def follow(index: int) -> None:
        async for events in watch(pb.WatchRequest(conversation_id=target), metadata=chat.metadata):
            counts[index] += events.count(TEXT_END)

    watchers = [asyncio.create_task(follow(i)) for i in range(WATCHERS)]
    rounds: list[tuple[float, float]] = []
    for turn in range(ROUNDS + 1):
        cpu, started, before = chat.stack.cpu("chat"), time.perf_counter(), sum(counts)
        sent = await converse_streams(chat.converse, [target], 4, 64, SECONDS)
        expected = before + sent.count * WATCHERS
        async with asyncio.timeout(60):
            while sum(counts) < expected:
                await asyncio.sleep(0.01)
        seconds, used = time.perf_counter() - started, chat.stack.cpu("chat") - cpu
        if turn:
            rounds.append(((expected - before) / seconds, (expected - before) / used))
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    per_core = sorted(r[1] for r in rounds)[len(rounds) // 2]
    rate = sorted(r[0] for r in rounds)[len(rounds) // 2]
    return Result(
        f"fan-out to {WATCHERS} watchers, per second of server CPU", per_core, "deliveries", f">= {FAN_OUT:,}",
        per_core >= FAN_OUT, rounds=ROUNDS, more={"deliveries a second of wall time": rate},
    )  # fmt: skip


TEXT_END = b"x" * 250
"""Stands once in every message of 256 bytes; counting it costs the client less than parsing would."""


async def latency(chat: Chat) -> Result:
    """One sender, one in flight: from write to answer."""
    target = await chat.conversation()
    call = chat.converse()
    taken: list[float] = []
    for _ in range(2000):
        started = time.perf_counter()
        await call.write(frame(target, 1))
        await call.read()
        taken.append(time.perf_counter() - started)
    call.cancel()
    taken.sort()
    return Result(
        "one sender, one in flight", 1 / taken[len(taken) // 2], "/s",
        more={"p50 ms": taken[len(taken) // 2] * 1e3, "p99 ms": taken[len(taken) * 99 // 100] * 1e3},
    )  # fmt: skip


async def measure(stack: Stack) -> list[Result]:
    """All of Chat's measurements."""
    async with running(stack) as chat:
        return [
            await unary_sends(chat),
            await converse_sends(chat, 32, 32, 8, 1.4),
            await converse_sends(chat, 1, 64, 16, 2.0),
            await fan_out(chat),
            await latency(chat),
        ]
