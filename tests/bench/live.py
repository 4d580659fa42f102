"""Chat as people use it: a group that talks, a crowd that listens, streams that wait, and how soon a word arrives."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import grpc
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.bench.chat import ROUNDS, TEXT_END, Chat, running
from tests.bench.load import TEXT, Stream, frame, send
from tests.bench.report import Result
from tests.bench.stack import Stack

GROUP, SECONDS = 32, 5.0
HELD_RATE, HELD_SECONDS, WATCHERS = 400, 10.0, 50
TINODE = "570/s and 1.7 ms, Tinode 0.22 with PostgreSQL"
CENTRIFUGO = "80-88 k, Centrifugo 5.4"
_STAMP = re.compile(rb"@(\d{19})")


def percentile(taken: list[float], share: float) -> float:
    """The value below which a share of sorted values lies."""
    return taken[min(len(taken) - 1, int(len(taken) * share))]


def stamped(conversation: str) -> bytes:
    """A Converse frame of one message of 256 bytes that says when it was sent."""
    said = send(conversation)
    said.content.text = f"@{time.time_ns():019d}" + TEXT[20:]
    return pb.ConverseRequest(sends=[said]).SerializeToString()


def opened(chat: Chat, channel: grpc.aio.Channel | None = None) -> Stream:
    """A Converse stream whose frames are bytes both ways, so that the client costs little."""
    return (channel or chat.channel).stream_stream("/tradewind.chat.v1.ChatService/Converse", None, None)(
        metadata=chat.metadata
    )


async def group(chat: Chat) -> Result:
    """Each member has one send in flight and receives what all say."""
    target, delivered, answered = await chat.conversation(), 0, 0
    until = 0.0

    async def member() -> None:
        nonlocal delivered, answered
        call, waiting = opened(chat), b""
        await call.write(pb.ConverseRequest(subscribe=[pb.Subscribe(conversation_id=target)]).SerializeToString())
        while True:
            if not waiting and time.perf_counter() < until:
                said = send(target)
                waiting = said.request_id.encode()
                await call.write(pb.ConverseRequest(sends=[said]).SerializeToString())
            data = await call.read()
            delivered += data.count(TEXT_END)
            if waiting and waiting in data:
                waiting, answered = b"", answered + 1

    rounds: list[tuple[float, float, float]] = []
    for turn in range(ROUNDS + 1):
        cpu, started = chat.stack.cpu("chat"), time.perf_counter()
        answered = delivered = 0
        until = started + SECONDS
        members = [asyncio.create_task(member()) for _ in range(GROUP)]
        await asyncio.sleep(SECONDS)
        seconds, used = time.perf_counter() - started, chat.stack.cpu("chat") - cpu
        if turn:
            rounds.append((answered / seconds, delivered / seconds, used / max(1, answered)))
        for task in members:
            task.cancel()
        await asyncio.gather(*members, return_exceptions=True)
        target = await chat.conversation()
    rate, deliveries, cpu_s = sorted(rounds)[len(rounds) // 2]
    return Result(
        f"a group of {GROUP}, each one send in flight and hearing all", rate, "/s",
        "5 x 570/s, 1/4 of 1.7 ms", rate >= 5 * 570 and cpu_s <= 1.7e-3 / 4, TINODE, 570.0, rate / 570,
        cpu_s * 1e6, rounds=ROUNDS, more={"deliveries a second": deliveries},
    )  # fmt: skip


async def held(chat: Chat) -> Result:
    """So many messages a second to so many watchers: deliveries per second of server CPU, and how late they are."""
    target = await chat.conversation()
    late: list[float] = []
    watch = chat.channel.unary_stream(
        "/tradewind.chat.v1.ChatService/Watch", pb.WatchRequest.SerializeToString, response_deserializer=bytes
    )

    async def follow() -> None:
        async for events in watch(pb.WatchRequest(conversation_id=target), metadata=chat.metadata):
            now = time.time_ns()
            late.extend((now - int(sent)) / 1e6 for sent in _STAMP.findall(events))

    watchers = [asyncio.create_task(follow()) for _ in range(WATCHERS)]
    call = opened(chat)
    answers = asyncio.create_task(drained(call))
    await asyncio.sleep(1.0)
    cpu, started, count = chat.stack.cpu("chat"), time.perf_counter(), int(HELD_RATE * HELD_SECONDS)
    for number in range(count):
        await asyncio.sleep(max(0.0, started + number / HELD_RATE - time.perf_counter()))
        await call.write(stamped(target))
    async with asyncio.timeout(30):
        while len(late) < count * WATCHERS:
            await asyncio.sleep(0.01)
    used = chat.stack.cpu("chat") - cpu
    await ended(*watchers, answers)
    late.sort()
    rate = len(late) / used
    return Result(
        f"{HELD_RATE} messages/s held, {WATCHERS} watchers: deliveries per second of server CPU", rate, "deliveries",
        ">= 85,000, none later than 30 ms", rate >= 85_000 and late[-1] <= 30, CENTRIFUGO, 85_000.0, rate / 85_000,
        more={"p50 ms": percentile(late, 0.5), "p99 ms": percentile(late, 0.99), "latest ms": late[-1]},
    )  # fmt: skip


async def arrival(chat: Chat) -> Result:
    """From one client's write to another client's read, with little else going on."""
    target, taken = await chat.conversation(), list[float]()
    sender, receiver = opened(chat), opened(chat)
    await receiver.write(pb.ConverseRequest(subscribe=[pb.Subscribe(conversation_id=target)]).SerializeToString())
    answers = asyncio.create_task(drained(sender))
    await receiver.read()
    for _ in range(500):
        await sender.write(stamped(target))
        while not (found := _STAMP.search(await receiver.read())):
            pass
        taken.append((time.time_ns() - int(found[1])) / 1e6)
        await asyncio.sleep(0.02)
    await ended(answers)
    receiver.cancel()
    taken.sort()
    p50, p99 = percentile(taken, 0.5), percentile(taken, 0.99)
    return Result(
        "sent until delivered to another client", 1e3 / p50, "/s", "p50 <= 2 ms, p99 <= 6 ms", p50 <= 2 and p99 <= 6,
        more={"p50 ms": p50, "p99 ms": p99},
    )  # fmt: skip


async def pages(chat: Chat) -> Result:
    """A page of 50 messages out of the middle of conversations that nobody reads: out of the store."""
    targets = [await chat.conversation() for _ in range(20)]
    for target in targets:
        call = opened(chat)
        await call.write(frame(target, 250))
        await call.write(frame(target, 250))
        await call.done_writing()
        await drained(call)
    taken: list[float] = []
    for number in range(1000):
        request = pb.ListMessagesRequest(
            conversation_id=targets[number % 20], page_size=50, from_version=60 + number * 7 % 380, oldest_first=True
        )
        started = time.perf_counter()
        page = await chat.stub.ListMessages(request, metadata=chat.metadata)
        taken.append((time.perf_counter() - started) * 1e3)
        if len(page.messages) != 50:
            raise RuntimeError(f"a page of {len(page.messages)}")
    taken.sort()
    p99 = percentile(taken, 0.99)
    return Result(
        "a page of 50 messages out of the store", 1e3 / percentile(taken, 0.5), "/s", "p99 <= 10 ms", p99 <= 10,
        more={"p50 ms": percentile(taken, 0.5), "p99 ms": p99},
    )  # fmt: skip


async def drained(call: Stream) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def measure(stack: Stack) -> list[Result]:
    """All of it."""
    async with running(stack) as chat:
        parts: list[Callable[[Chat], Awaitable[Result]]] = [group, held, arrival, pages]
        return [await part(chat) for part in parts]
