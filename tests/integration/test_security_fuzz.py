"""Frames that no client sends, on every stream and every rpc: clear errors, no defect, and others are served meanwhile.

TRADEWIND_FUZZ_FRAMES says how many; 100,000 take some minutes. TRADEWIND_FUZZ_SEED says which.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import presence_service_pb2 as presence

from tests.hidden_ends import hides_the_end
from tests.integration.chat_requests import METHODS, Names, requests
from tests.integration.chat_world import chat_world, key_file, reason_in, reason_of
from tests.integration.frame_mutations import Mutator
from tests.integration.permission_world import AUTHOR, Stage
from tests.servers import NatsServer

FRAMES = int(os.environ.get("TRADEWIND_FUZZ_FRAMES", "3000"))
SEED = int(os.environ.get("TRADEWIND_FUZZ_SEED", "20260131"))
WORKERS = 12
MOST_GROWTH = 400 << 20
CALLERS = (AUTHOR, "owner", "bot", "chief", "stranger")
OF_EVERY_TEN = {"converse": 4, "presence": 1, "upload": 1, "call": 4}
CODE = grpc.StatusCode
CLEAR = {
    CODE.OK, CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.PERMISSION_DENIED, CODE.FAILED_PRECONDITION, CODE.ALREADY_EXISTS,
    CODE.RESOURCE_EXHAUSTED, CODE.DEADLINE_EXCEEDED, CODE.ABORTED,
}  # fmt: skip
# Nothing here is down. On a machine that is busy for minutes an acknowledgement of the log may take longer than it is waited for, which is
# told, with when to ask again; whatever else would be unavailable is a finding.
LATE, LATE_REASON = CODE.UNAVAILABLE, "LOG_UNAVAILABLE"
CLEAR_NUMBERS = {code.value[0] for code in (*CLEAR, LATE)}
ENDS_CALL_AFTER = 3.0
MARK = 2**60


class Fuzz:
    """Sends frames, and looks at every answer."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.valid = {
            rpc: [requests(each.names)[rpc] for each in stage.places.values()] + [requests(Names())[rpc]]
            for rpc in METHODS
        }
        self.found: Counter[str] = Counter()
        self.watched = 0

    async def work(self, number: int, frames: int) -> None:
        """Send so many frames, one after the other."""
        mutator = Mutator(SEED + number)
        caller = CALLERS[number % len(CALLERS)]
        ways = [way for way, share in OF_EVERY_TEN.items() for _ in range(share)]
        streams: dict[str, Any] = {}
        calls = [rpc for rpc, method in METHODS.items() if not method.client_streaming]
        for at in range(frames):
            way = ways[at % len(ways)]
            if way == "call":
                rpc = calls[(at * WORKERS + number) % len(calls)]
                await self._call(rpc, mutator.frame(self.valid[rpc]), caller)
            else:
                rpc, check = self._bidi()[way]
                frame = mutator.frame(self.valid[rpc])
                streams[way] = await self._on_stream(rpc, frame, caller, streams.get(way), check)
        for stream in streams.values():
            if stream is not None:
                stream.cancel()

    def _bidi(self) -> dict[str, tuple[str, Callable[[Any, bytes], Awaitable[bool]]]]:
        return {
            "converse": ("ChatService/Converse", self._converse),
            "presence": ("PresenceService/WatchPresence", self._presence),
            "upload": ("AttachmentService/UploadChunks", self._upload),
        }

    def _open(self, rpc: str, caller: str, kind: str) -> Any:
        method = METHODS[rpc]
        channel: Any = self.stage.channels[CALLERS.index(caller) % len(self.stage.channels)]
        return getattr(channel, kind)(f"/{method.containing_service.full_name}/{method.name}")

    async def _call(self, rpc: str, frame: bytes, caller: str) -> None:
        options = {"metadata": self.stage.metadata(caller), "timeout": ENDS_CALL_AFTER}
        try:
            if METHODS[rpc].server_streaming:
                call = self._open(rpc, caller, "unary_stream")(frame, **options)
                # A stream that was let in and has nothing to say is as good as answered.
                reading = asyncio.ensure_future(call.read())
                done, _ = await asyncio.wait([reading], timeout=0.2)
                call.cancel()
                await asyncio.wait([reading])
                if done:
                    reading.result()
            else:
                await self._open(rpc, caller, "unary_unary")(frame, **options)
        except grpc.aio.AioRpcError as error:
            assert not is_unavailable(error), (error, frame[:2_000])
            self._note(rpc, error.code(), frame, error.details())
        except asyncio.CancelledError:
            self._note(rpc, CODE.OK, frame, "")
        else:
            self._note(rpc, CODE.OK, frame, "")

    async def _on_stream(
        self, rpc: str, frame: bytes, caller: str, stream: Any, check: Callable[[Any, bytes], Awaitable[bool]]
    ) -> Any:
        """Write a frame to a stream, or to a new one; gives the stream where it goes on."""
        if stream is None:
            stream = self._open(rpc, caller, "stream_stream")(metadata=self.stage.metadata(caller))
        try:
            async with asyncio.timeout(60):
                goes_on = await check(stream, frame)
        except TimeoutError:
            raise AssertionError(f"{rpc} is silent after {frame[:2_000]!r}") from None
        except grpc.aio.AioRpcError as error:
            assert not is_unavailable(error), (error, frame[:2_000])
            # So says the client itself where its write meets a stream that has just ended.
            code = CODE.INVALID_ARGUMENT if hides_the_end(error) else error.code()
            self._note(rpc, code, frame, error.details())
        except asyncio.InvalidStateError:
            self._note(rpc, await stream.code(), frame, await stream.details())
        else:
            self._note(rpc, CODE.OK, frame, "")
            if goes_on:
                return stream
            stream.cancel()
        return None

    def _note(self, rpc: str, code: Any, frame: bytes, details: str | None) -> None:
        assert code in CLEAR or code is LATE, (rpc, code, details, frame[:2_000])
        self.found[f"{rpc} {code.name}"] += 1
        # A frame may ask for heartbeats, and whoever asks must speak too.
        if rpc == "ChatService/Converse" and code not in (CODE.OK, CODE.DEADLINE_EXCEEDED, LATE):
            assert not can_be_refused_alone(frame), (code, details, frame[:2_000])

    async def _converse(self, stream: Any, frame: bytes) -> bool:
        """The frame, and one that is good: it is answered where the stream goes on."""
        name = self.stage.places["group"].names.conversation
        mark = chat.Operation(operation_id=MARK, mark=chat.MarkMessagesRequest(conversation_id=name))
        await stream.write(frame)
        await stream.write(chat.ConverseRequest(operations=[mark]).SerializeToString())
        while True:
            data = await stream.read()
            if data is grpc.aio.EOF:
                assert not await _ended(stream), "the stream ended of itself"
            answer = chat.ConverseResponse.FromString(data)
            told: list[Any] = [*answer.results, *answer.operation_results, *answer.ended]
            assert all(each.error.code in CLEAR_NUMBERS for each in told), (told, frame[:2_000])
            late = [each.error for each in told if each.error.code == LATE.value[0]]
            assert all(reason_in(error) == LATE_REASON for error in late), (late, frame[:2_000])
            self.found[f"told on a stream {LATE.name}"] += len(late)
            self.found["answered on a stream"] += len(told)
            if any(each.operation_id == MARK for each in answer.operation_results):
                return True

    async def _presence(self, stream: Any, frame: bytes) -> bool:
        """The frame, and one that asks for somebody new: it is told of where the stream goes on."""
        self.watched += 1
        wanted = f"user-{self.watched}"
        await stream.write(frame)
        await stream.write(_request("PresenceService/WatchPresence", add_user_ids=[wanted]))
        while True:
            data = await stream.read()
            if data is grpc.aio.EOF:
                assert not await _ended(stream), "the stream ended of itself"
            answer = presence.WatchPresenceResponse.FromString(data)
            if any(each.user_id == wanted for each in answer.presences):
                return True

    async def _upload(self, stream: Any, frame: bytes) -> bool:
        await stream.write(frame)
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass
        await _ended(stream)
        return False


async def _ended(stream: Any) -> bool:
    """Tell whether a stream ended well. Raises InvalidStateError where it was ended."""
    if await stream.code() is not CODE.OK:
        raise asyncio.InvalidStateError
    return True


def _request(rpc: str, **fields: Any) -> bytes:
    request: Any = type(requests(Names())[rpc])(**fields)
    return bytes(request.SerializeToString())


def is_unavailable(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a call was refused as if something were down, and not for a late log alone."""
    return error.code() is LATE and reason_of(error) != LATE_REASON


def can_be_refused_alone(frame: bytes) -> bool:
    """Tell whether a frame is one, within its limits: whatever is wrong in it is wrong with one thing of it."""
    try:
        request = chat.ConverseRequest.FromString(frame)
    except DecodeError:
        return False
    kinds: Sequence[Sequence[Any]] = (request.sends, request.operations, request.subscribe, request.unsubscribe)
    return all(len(each) <= 256 for each in kinds) and request.flow.heartbeat_seconds <= 300


@contextmanager
def suppress_late() -> Iterator[None]:
    """Let pass that the log was late."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        assert (error.code(), reason_of(error)) == (LATE, LATE_REASON), error


async def _others(stage: Stage, over: asyncio.Event) -> list[float]:
    """How long somebody else waits for an answer, over and over."""
    waits = []
    names = stage.places["open channel"].names
    while not over.is_set():
        began = time.perf_counter()
        with suppress_late():
            await stage.answer("ChatService/SendMessage", requests(names)["ChatService/SendMessage"], "moderator")
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(0.02)
    return waits


@pytest.mark.timeout(300 + FRAMES / 50)
async def test_no_frame_is_a_defect(
    own_nats_server: NatsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], record_property: Any
) -> None:
    options: dict[str, Any] = {
        "attachment_key_file": key_file(tmp_path), "search": "embedded", "max_caller_streams": 1000
    }  # fmt: skip
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        stage = Stage(world)
        await stage.make("group", "open channel")
        over = asyncio.Event()
        others = asyncio.create_task(_others(stage, over))
        fuzz, before = Fuzz(stage), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        try:
            await asyncio.gather(*(fuzz.work(number, FRAMES // WORKERS + 1) for number in range(WORKERS)))
        finally:
            over.set()
            waits = await others
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
        assert await stage.answer(
            "ChatService/GetConversation", requests(stage.places["group"].names)["ChatService/GetConversation"], "chief"
        )
        await stage.close()
    told = capfd.readouterr()
    assert "unexpected_error" not in told.err + told.out
    late = sum(count for what, count in fuzz.found.items() if what.endswith(LATE.name))
    assert late <= FRAMES / 1_000, late
    assert grown < MOST_GROWTH, grown
    assert max(waits) < 30, max(waits)
    record_property("frames", sum(count for what, count in fuzz.found.items() if " " in what))
    sys.stdout.write(
        f"{dict(fuzz.found.most_common())}\ngrown {grown >> 20} MiB; others waited {max(waits):.3f} s at most of {len(waits)} times\n"
    )
