"""How fast people may say things: each user, each conversation, each tenant; refused with the time to wait, slowed on a stream."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.integration.chat_world import ChatWorld, Talk, User, chat_world, facts_in, refused, request_id
from tests.integration.test_chat_processes import pair
from tests.servers import NatsServer


async def said(user: User, conversation_id: str, times: int) -> tuple[int, float]:
    """Say something over and over; gives how often it was taken, and the longest wait that a refusal named."""
    taken, longest = 0, 0.0
    for number in range(times):
        try:
            await user.send(conversation_id, f"{number}")
            taken += 1
        except grpc.aio.AioRpcError as error:
            longest = max(longest, wait_of(error))
    return taken, longest


def wait_of(error: grpc.aio.AioRpcError) -> float:
    """The wait that a refusal for its rate names; it always does."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details if isinstance(details, bytes) else details.encode())
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "RATE_LIMITED"
    assert any(detail.Unpack(retry) for detail in status.details)
    seconds: float = retry.retry_delay.ToNanoseconds() / 1e9
    assert seconds > 0
    return seconds


def answered(count: int, talk: Talk) -> bool:
    """Whether so many sends of a stream were answered."""
    return len(talk.results) == count


async def groups(world: ChatWorld, *members: str) -> tuple[list[User], str, str]:
    users = [world.user(each) for each in members]
    one = (await users[0].create_group(*members[1:])).conversation_id
    two = (await users[0].create_group(*members[1:])).conversation_id
    return users, one, two


async def test_a_user_has_its_rate_everywhere_together(own_nats_server: NatsServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"user_message_rate": 0.01, "user_message_burst": 5}
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        (ann, bob), one, two = await groups(world, "ann", "bob")
        assert await said(ann, one, 3) == (3, 0.0)
        taken, longest = await said(ann, two, 3)
        assert taken == 2
        assert 50 < longest <= 100.0
        assert (await said(bob, one, 3))[0] == 3


async def test_what_a_refusal_promises_is_kept(own_nats_server: NatsServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"user_message_rate": 4.0, "user_message_burst": 1}
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        (ann, _), one, _ = await groups(world, "ann", "bob")
        wait = 0.0
        while not wait:
            _, wait = await said(ann, one, 1)
        assert wait <= 0.25
        await asyncio.sleep(wait)
        assert await said(ann, one, 1) == (1, 0.0)


async def test_a_conversation_has_its_rate_whoever_speaks(own_nats_server: NatsServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"conversation_message_rate": 0.01, "conversation_message_burst": 4}
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        (ann, bob), one, two = await groups(world, "ann", "bob")
        assert (await said(ann, one, 3))[0] == 3
        assert (await said(bob, one, 3))[0] == 1
        assert (await said(bob, two, 3))[0] == 3


async def test_who_may_say_nothing_in_a_conversation_does_not_slow_it(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"conversation_message_rate": 0.01, "conversation_message_burst": 4}
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        (ann, _), one, _ = await groups(world, "ann", "bob")
        eve = world.user("eve")
        for _ in range(6):
            assert (await refused(eve.send(one, "let me in")))[1] == "NOT_FOUND"
        react = pb.AddReactionRequest(request_id=request_id(), conversation_id=one, message_version=1, emoji="+")
        assert (await refused(eve.call("AddReaction", react)))[1] == "NOT_FOUND"
        talk = eve.converse()
        for _ in range(4):
            before = len(talk.results)
            await talk.write(eve.message(one, "x"), eve.message(one, "x"))
            await talk.until(partial(answered, before + 2))
        assert not any(result.version for result in talk.results.values())
        talk.call.cancel()
        assert (await said(ann, one, 5))[0] == 4


async def test_whoever_is_not_in_a_conversation_does_not_learn_that_much_is_said_there(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"conversation_message_rate": 0.01, "conversation_message_burst": 4}
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        (ann, _), one, _ = await groups(world, "ann", "bob")
        eve = world.user("eve")
        assert (await said(ann, one, 5))[0] == 4
        react = pb.AddReactionRequest(request_id=request_id(), conversation_id=one, message_version=1, emoji="+")
        for call in (eve.send(one, "let me in"), eve.call("AddReaction", react)):
            assert (await refused(call))[1] == "NOT_FOUND"
        talk = eve.converse()
        await talk.write(eve.message(one, "x"), eve.message(one, "x"))
        await talk.until(partial(answered, 2), 20.0)  # at once, and not when there is room
        assert {facts_in(result.error)[0] for result in talk.results.values()} == {"NOT_FOUND"}
        talk.call.cancel()
        assert (await said(ann, one, 1))[0] == 0  # and what it was not charged is not given back


async def test_a_flood_of_one_tenant_leaves_another_s_calls_answered(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"tenant_rate_limit": 50.0, "tenant_rate_burst": 50.0}
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        quiet = world.user("quiet", tenant="small")
        name = (await quiet.create_group()).conversation_id
        flooding = True
        refusals = 0

        async def flood(number: int) -> None:
            nonlocal refusals
            loud = world.user(f"loud-{number}", tenant="large")
            while flooding:
                try:
                    await loud.create_group()
                except grpc.aio.AioRpcError as error:
                    wait_of(error)
                    refusals += 1

        floods = [asyncio.create_task(flood(number)) for number in range(8)]
        while refusals < 50:
            await asyncio.sleep(0.01)
        for number in range(20):
            await quiet.send(name, f"{number}")
        flooding = False
        await asyncio.gather(*floods)


async def test_a_stream_waits_where_a_call_would_be_refused(own_nats_server: NatsServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "user_message_rate": 200.0,
        "user_message_burst": 50,
        "conversation_message_rate": 1000.0,
    }
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        (ann, _), one, two = await groups(world, "ann", "bob")
        talk = ann.converse()
        began = time.monotonic()
        for _ in range(5):
            await talk.write(*(ann.message(where, "x") for where in (one, two) for _ in range(15)))
        await talk.until(lambda t: len(t.results) == 150)
        assert all(result.version for result in talk.results.values())
        assert (
            time.monotonic() - began > 0.4
        )  # a hundred above the burst, at 200 a second, less what the clock is coarse
        talk.call.cancel()


async def test_two_processes_give_a_user_its_rate_together(own_nats_server: NatsServer, tmp_path: Path) -> None:
    rate, burst = 20.0, 10.0
    settings = {"user_message_rate": f"{rate}", "user_message_burst": f"{burst}"}
    async with pair(own_nats_server.url, tmp_path, **settings) as processes, asyncio.timeout(60):
        everywhere = [process.member("ann") for process in processes]
        name = (await everywhere[0].create_group()).conversation_id
        began, taken = time.monotonic(), 0
        while (seconds := time.monotonic() - began) < 2.5:
            for found in await asyncio.gather(*(said(user, name, 5) for user in everywhere)):
                taken += found[0]
        # Beyond the limit is what the other let through before this one had heard of it: a quarter of a second, and its way.
        assert burst <= taken <= burst + rate * seconds + (burst + rate * 1.25)
