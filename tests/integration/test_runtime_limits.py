"""Time and rate: a call ends when its deadline passes, and a caller gets no more than its share."""

import asyncio
import math
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from tests.integration.runtime_world import World, detail, refusal, serve, settings_in
from tests.unit.runtime.trial import parcel


async def closed(world: World) -> None:
    await world.channel.close()
    await world.server.drain()


@pytest.mark.parametrize("changes", [{"deadline_default": 0.2}, {"deadline_max": 0.2}])
@pytest.mark.parametrize("asked", [None, 60.0])
async def test_the_server_s_deadline_ends_the_work(
    tmp_path: Path, changes: dict[str, float], asked: float | None
) -> None:
    if asked is not None and "deadline_max" not in changes:
        changes = {"deadline_max": 0.2}
    world = await serve(settings_in(tmp_path, **({"deadline_default": 0.2} | changes)))
    code, reason, _ = await refusal(world.say("hang", timeout=asked))
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert world.handlers.outcome == "cancelled"
    assert world.handlers.calls[0].remaining() == 0
    await closed(world)


async def test_the_client_s_deadline_ends_the_work(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path))
    await world.say("hello")  # connected, so that the call comes to its handler in time
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.say("hang", timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(60):
        await world.handlers.ended.wait()
    assert world.handlers.outcome == "cancelled"
    await closed(world)


async def test_a_client_that_goes_ends_the_work(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path))
    stream = world.count("hang")
    await stream.read()
    assert world.handlers.calls[0].remaining() == math.inf
    stream.cancel()
    async with asyncio.timeout(60):
        await world.handlers.ended.wait()
    await closed(world)


async def test_a_fast_caller_waits_and_another_does_not(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path, rate_limit=0.01, rate_burst=3))
    codes = [await _code(world.say("hello")) for _ in range(3)]
    assert codes == [None, None, None]
    for call in (world.say("hello"), world.count().read()):
        code, reason, status = await refusal(call)
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert 0 < detail(status, error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() <= 100 * 1_000_000_000
    assert (await world.say("hello", metadata=world.header("bob"))).label == "hello"
    assert (await world.say("hello", metadata=world.header("ann", tenant="other"))).label == "hello"
    for _ in range(5):
        await world.say("hello", metadata=world.header("chat", ["service"]))
    await closed(world)


async def test_a_stream_is_charged_for_what_it_carries(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path, rate_limit=0.001, rate_burst=10))
    stream = world.talk()
    answers = []
    for weights in ((1,) * 5, (1,) * 4, (1,) * 3):
        await stream.write(parcel("taken", weights))
        answers.append((await stream.read()).label)
    assert answers == ["taken", "taken", "wait"]
    await stream.done_writing()
    await closed(world)


async def _code(call: Any) -> grpc.StatusCode | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def test_a_tenant_that_fills_its_part_leaves_room_for_another(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path, max_unary_calls=4))
    hanging = [asyncio.ensure_future(world.say("hang")) for _ in range(3)]
    async with asyncio.timeout(60):
        for _ in hanging:
            await world.handlers.hanging.acquire()
    code, reason, status = await refusal(world.say("hello", metadata=world.header("bob")))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() > 0
    assert (await world.say("hello", metadata=world.header("ann", tenant="other"))).label == "hello"
    assert (await world.say("hello", metadata=world.header("chat", ["service"]))).label == "hello"
    for call in hanging:
        call.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    await closed(world)


async def test_a_tenant_has_its_rate_whoever_calls(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path, tenant_rate_limit=0.01, tenant_rate_burst=3))
    codes = [await _code(world.say("hello", metadata=world.header(name))) for name in ("ann", "bob", "cy")]
    assert codes == [None, None, None]
    code, reason, status = await refusal(world.say("hello", metadata=world.header("dee")))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert 50 < detail(status, error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() / 1e9 <= 100
    assert (await world.say("hello", metadata=world.header("dee", tenant="other"))).label == "hello"
    await closed(world)
