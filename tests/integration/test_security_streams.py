"""What a stream may outlast, and how many of them one caller, or anybody without a token, may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.call import Call
from tests.integration.runtime_world import Handlers, World, refusal, serve, settings_in
from tests.unit.runtime.trial import parcel


class Flood(Handlers):
    """Says more than anybody reads."""

    async def Count(self, request: Any, call: Call) -> AsyncIterator[Any]:
        self.calls.append(call)
        try:
            while True:
                yield parcel("x" * 1_000_000)
        finally:
            self.ended.set()


async def closed(world: World) -> None:
    await world.channel.close()
    await world.server.drain()


def short(world: World, seconds: float = 3.0) -> Any:
    """Metadata of a token that is good for a moment."""
    return (("authorization", f"Bearer {world.signer.mint('ann', 'acme', ['customer'], ttl=seconds)}"),)


@pytest.mark.parametrize("kind", ["count", "talk"])
async def test_a_stream_ends_with_its_token(tmp_path: Path, kind: str) -> None:
    world = await serve(settings_in(tmp_path, auth_leeway=0.1))
    if kind == "count":
        stream = world.count("hang", metadata=short(world))
        assert (await stream.read()).label == "message"
        await stream.read()
    else:
        stream = world.talk(metadata=short(world))
        await stream.write(parcel("hello"))
        assert (await stream.read()).label == "hello"
    async with asyncio.timeout(60):
        code, reason, status = await refusal(stream.read())
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert "expired" in status.message
    # Soon nobody is inside any more, and who comes with a good token is heard as before.
    async with asyncio.timeout(60):
        while list(world.server._gate.inside()) != [0, 0]:
            await asyncio.sleep(0.01)
    assert (await world.say("hello")).label == "hello"
    await closed(world)


async def test_a_client_that_does_not_read_is_ended_too(tmp_path: Path) -> None:
    flood = Flood()
    world = await serve(settings_in(tmp_path, auth_leeway=0.1), flood)
    stream = world.count(metadata=short(world))
    async with asyncio.timeout(60):
        await flood.ended.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stream:
                pass
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await closed(world)


async def test_one_caller_does_not_hold_all_streams(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path, max_caller_streams=2))
    held = [world.talk() for _ in range(2)]
    for stream in held:
        await stream.write(parcel("hello"))
        await stream.read()
    code, reason, _ = await refusal(world.count().read())
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    for others in (world.header("bob"), world.header(tenant="other"), world.header("chat", ["service"])):
        assert (await world.count(metadata=others).read()).label == "message"
    await held[0].done_writing()
    assert await held[0].read() is grpc.aio.EOF
    assert (await world.count().read()).label == "message"
    await closed(world)


async def test_streams_without_a_token_take_nobody_s_place(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path, max_public_streams=2, max_streams=2))
    health = health_pb2_grpc.HealthStub(world.channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
    for watch in watches:
        await watch.read()
    code, _, _ = await refusal(health.Watch(health_pb2.HealthCheckRequest()).read())
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    # A probe is always answered, and those with a token find the room they would have found.
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    assert (await world.count().read()).label == "message"
    await closed(world)
