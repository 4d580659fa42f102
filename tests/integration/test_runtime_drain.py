"""A process that is told to end says so, lets its streams end themselves, and ends within its grace."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.tokens import Signer, make_key_pair
from tests.integration.runtime_world import World, refusal, serve, settings_in
from tests.unit.runtime.trial import parcel

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A started process and a world that speaks to it."""

    process: Process
    world: World
    loop_module: str

    async def line(self) -> str:
        """The next line it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode().strip()


@pytest.fixture
async def spawn(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Process]]]:
    make_key_pair(tmp_path / "key.pem", tmp_path / "key.pub")
    async with AsyncExitStack() as stack:

        async def launch(**extra: str) -> Process:
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python")]),
                "TRADEWIND_AUTH_PUBLIC_KEY_FILES": str(tmp_path / "key.pub"),
                "TRADEWIND_TRACE_DIR": str(tmp_path / "traces"),
                "TRADEWIND_TRACE_RATIO": "1",
                **extra,
            }
            command = (sys.executable, "-m", "tests.integration.runtime_process")
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
            stack.push_async_callback(_reap, process)
            return process

        yield launch


@pytest.fixture
async def start(
    spawn: Callable[..., Awaitable[Process]], tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    async with AsyncExitStack() as stack:

        async def launch(**extra: str) -> Running:
            process = await spawn(**extra)
            assert process.stdout is not None
            port, loop_module = (await process.stdout.readline()).decode().split()
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            signer = Signer.from_file(tmp_path / "key.pem")
            world = World(Any, Any, signer, Any, channel)  # type: ignore[arg-type]
            return Running(process, world, loop_module)

        yield launch


async def _reap(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def _ends(running: Running) -> str:
    async with asyncio.timeout(60):
        assert running.process.stderr is not None
        log = (await running.process.stderr.read()).decode()
        assert await running.process.wait() == 0
    return log


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "parent"])
async def test_a_told_process_drains(start: Callable[..., Awaitable[Running]], tmp_path: Path, way: str) -> None:
    running = await start(TRADEWIND_PARENT_PIPE="1" if way == "parent" else "0")
    world = running.world
    stream = world.count("stay")
    assert [(await stream.read()).label for _ in range(2)] == ["message", "bytes"]
    health = health_pb2_grpc.HealthStub(world.channel).Watch(health_pb2.HealthCheckRequest())
    assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
    if way == "parent":
        assert running.process.stdin is not None
        running.process.stdin.close()
    else:
        running.process.send_signal(signal.Signals[way])
    assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert (await stream.read()).label == "going away"
    assert await stream.read() is grpc.aio.EOF
    assert await running.line() == "hook True"
    assert await running.line() == "ended"
    log = await _ends(running)
    assert "drain_hook_failed" in log
    assert "a hook that fails" not in log
    assert "TrialService/Count" in "".join(file.read_text() for file in (tmp_path / "traces").iterdir())


async def test_without_a_parent_to_watch_the_end_of_input_means_nothing(
    start: Callable[..., Awaitable[Running]],
) -> None:
    running = await start()
    assert running.process.stdin is not None
    running.process.stdin.close()
    assert (await running.world.say("hello")).label == "hello"


async def test_a_process_that_still_starts_ends_with_its_parent(spawn: Callable[..., Awaitable[Process]]) -> None:
    process = await spawn(TRADEWIND_PARENT_PIPE="1", TRIAL_STARTS_FOR_EVER="1")
    assert process.stdout is not None
    assert process.stdin is not None
    assert (await process.stdout.readline()).decode() == "0 starting\n"
    process.stdin.close()
    async with asyncio.timeout(60):
        assert await process.wait() == 1


async def test_grace_is_bounded_for_hooks_and_streams(start: Callable[..., Awaitable[Running]]) -> None:
    running = await start(TRADEWIND_DRAIN_GRACE="0.5", TRIAL_HANGING_HOOK="1")
    stream = running.world.count("hang")
    await stream.read()
    running.process.terminate()
    assert await running.line() == "hook True"
    assert await running.line() == "ended"
    assert "drain_hook_late" in await _ends(running)


async def test_the_loop_is_uvloop_where_it_is_installed(start: Callable[..., Awaitable[Running]]) -> None:
    assert (await start()).loop_module == "uvloop"


async def test_a_stream_under_way_is_finished_and_a_new_call_goes_elsewhere(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path))
    stream = world.talk()
    await stream.write(parcel("one"))
    assert (await stream.read()).label == "one"
    drain = asyncio.ensure_future(world.server.drain())
    await world.server.draining.wait()
    await stream.write(parcel("two"))
    assert (await stream.read()).label == "two"
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK
    await drain
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.say("hello")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await world.channel.close()


async def test_a_call_that_comes_while_hooks_run_is_told_to_connect_again(tmp_path: Path) -> None:
    world = await serve(settings_in(tmp_path))
    release = asyncio.Event()
    drain = asyncio.ensure_future(world.server.drain([release.wait]))
    await world.server.draining.wait()
    code, reason, _ = await refusal(world.say("hello"))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    release.set()
    await drain
    await world.channel.close()


@pytest.mark.parametrize("what", ["address", "key"])
async def test_what_the_deployment_must_change_is_said_in_one_line(
    spawn: Callable[..., Awaitable[Process]], tmp_path: Path, what: str
) -> None:
    world = await serve(settings_in(tmp_path))
    changes = {
        "address": {"TRADEWIND_LISTEN": f"127.0.0.1:{world.server.port}"},
        "key": {"TRADEWIND_AUTH_PUBLIC_KEY_FILES": str(tmp_path / "key.pem")},
    }
    process = await spawn(**changes[what])
    async with asyncio.timeout(60):
        _, log = await process.communicate()
    said = [line for line in log.decode().splitlines() if not line.startswith("{")]
    assert process.returncode == 2
    assert len(said) == 1
    assert ("cannot listen on" if what == "address" else "key.pem: no public key") in said[0]
    await world.channel.close()
    await world.server.drain()
