import asyncio

import grpc
import pytest
from tradewind.sdk import PermissionDenied, Unavailable, VersionGap

from tests.unit.client.harbour import Harbour, first, status


async def conversation(port: Harbour, messages: int) -> str:
    async with port.client() as client:
        made = await client.chat.create_group(["ann"])
    await port.chat.say(made.conversation_id, messages)
    return made.conversation_id


async def test_a_watch_goes_on_where_it_was_cut_off(port: Harbour) -> None:
    name = await conversation(port, 9)
    port.chat.faults.frames = [2, 0, 3]
    async with port.client() as client:
        events = await first(10, client.chat.watch(name))
    assert [event.version for event in events] == list(range(1, 11))
    assert port.chat.streams == 4


async def test_a_watch_begins_after_the_version_named_and_goes_on_live(port: Harbour) -> None:
    name = await conversation(port, 3)
    async with port.client() as client:
        watching = asyncio.create_task(first(3, client.chat.watch(name, after=2)))
        await port.chat.say(name, 1)
        events = await watching
    assert [event.version for event in events] == [3, 4, 5]


async def test_a_watch_comes_back_after_a_goodbye(port: Harbour) -> None:
    name = await conversation(port, 4)
    port.chat.faults.drain_after = [2]
    async with port.client() as client:
        events = await first(5, client.chat.watch(name))
    assert [event.version for event in events] == [1, 2, 3, 4, 5]
    assert port.chat.streams == 2


async def test_a_hole_in_a_stream_is_an_error(port: Harbour) -> None:
    name = await conversation(port, 4)
    port.chat.faults.skip = 3
    async with port.client() as client:
        with pytest.raises(VersionGap) as caught:
            await first(5, client.chat.watch(name))
    assert (caught.value.expected, caught.value.got) == (3, 4)


async def test_a_refused_watch_is_not_tried_again(port: Harbour) -> None:
    name = await conversation(port, 1)
    # As often as it may be asked: who does not take the refusal for what it is would ask for three seconds.
    port.chat.faults.frames = [status(grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")] * 1000
    async with port.client() as client:
        with pytest.raises(PermissionDenied):
            await first(1, client.chat.watch(name))
    assert port.chat.streams <= 3  # one, and where gRPC hid its end another


async def test_patience_with_a_stream_ends(port: Harbour) -> None:
    name = await conversation(port, 1)
    port.chat.faults.frames = [status(grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE")] * 1000
    async with port.client() as client:
        with pytest.raises(Unavailable):
            await first(1, client.chat.watch(name))


async def test_an_order_s_stream_ends_by_itself(port: Harbour) -> None:
    port.orders.faults.frames = [2]
    async with port.client() as client:
        versions = [event.version async for event in client.order.watch("o-1", after=1)]
    assert versions == [2, 3, 4, 5]
