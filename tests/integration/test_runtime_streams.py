"""Streams of every kind: frames as messages or bytes, requests checked one by one, generators closed at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from services.runtime.call import Call, raw, unvalidated
from services.runtime.errors import Refused, status_of
from tests.integration.runtime_world import Handlers, World, refusal, serve, settings_in
from tests.unit.runtime.trial import parcel


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = await serve(settings_in(tmp_path))
    yield world
    await world.channel.close()
    await world.server.drain()


async def test_a_server_stream_carries_messages_and_ready_bytes(world: World) -> None:
    assert [frame.label async for frame in world.count()] == ["message", "bytes"]
    assert world.handlers.ended.is_set()


async def test_a_client_stream_is_answered_once(world: World) -> None:
    assert (await world.gather(iter([parcel("a"), parcel("b")]))).label == "2"
    code, reason, _ = await refusal(world.gather(iter([parcel("a")]), metadata=world.header()))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")


async def test_both_directions_at_once(world: World) -> None:
    stream = world.talk()
    for label in ("one", "two"):
        await stream.write(parcel(label))
        assert (await stream.read()).label == label
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("bad", [parcel("x" * 17), b"\x0a\xff\xff"])
async def test_a_bad_frame_ends_the_stream_after_the_good_ones(world: World, bad: Any) -> None:
    stream = world.talk()
    await stream.write(parcel("good"))
    assert (await stream.read()).label == "good"
    await stream.write(bad)
    code, reason, _ = await refusal(stream.read())
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_a_client_that_goes_closes_the_generator(world: World) -> None:
    stream = world.count("hang")
    await stream.read()
    stream.cancel()
    async with asyncio.timeout(60):
        await world.handlers.ended.wait()


class Lenient(Handlers):
    """Answers bad items itself, and one rpc that reads bytes."""

    @unvalidated
    async def Talk(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Message | bytes]:
        async for request in requests:
            try:
                call.validate(request)
            except Refused as error:
                yield parcel(f"code {status_of(error).code}")
            else:
                yield request

    @raw
    async def Gather(self, requests: AsyncIterator[bytes], _call: Call) -> Message:
        return parcel(str(sum([len(data) async for data in requests])))


async def test_a_handler_may_check_items_itself_or_take_bytes(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path), Lenient())
    stream = world.talk()
    answers = []
    for label in ("x" * 17, "good"):
        await stream.write(parcel(label))
        answers.append((await stream.read()).label)
    assert answers == ["code 3", "good"]
    await stream.done_writing()
    assert (await world.gather(iter([b"no message", b"at all"]))).label == "16"
    await world.channel.close()
    await world.server.drain()
