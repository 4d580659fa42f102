import asyncio

import grpc
import pytest
from tradewind.chat.v1 import chat_pb2, chat_service_pb2
from tradewind.sdk import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    SessionClosed,
    Unauthenticated,
    VersionGap,
    new_request_id,
)

from tests.unit.client.harbour import Harbour, first, status, texts


async def group(port: Harbour) -> str:
    async with port.client() as client:
        return (await client.chat.create_group(["ann"])).conversation_id


def said(conversation: str, text: str) -> chat_service_pb2.SendMessageRequest:
    content = chat_pb2.MessageContent(text=text)
    return chat_service_pb2.SendMessageRequest(
        request_id=new_request_id(), conversation_id=conversation, content=content
    )


async def test_sends_are_answered_with_their_versions(port: Harbour) -> None:
    name = await group(port)
    async with port.client() as client, client.chat.converse() as session:
        assert [await session.send(name, "a"), await session.send(name, "b")] == [2, 3]


async def test_many_posts_keep_their_order_over_broken_connections(port: Harbour) -> None:
    name = await group(port)
    port.chat.faults.frames = [0, 1, 2, 1]
    wanted = [f"{number}" for number in range(700)]
    async with port.client() as client, client.chat.converse(window=64) as session:
        answers = [await session.post(said(name, text)) for text in wanted]
        versions = [answer.version for answer in await asyncio.gather(*answers)]
    assert versions == list(range(2, 702))
    assert texts(port.chat.events[name]) == wanted


async def test_a_lost_answer_is_asked_for_again_and_nothing_is_said_twice(port: Harbour) -> None:
    name = await group(port)
    port.chat.faults.lose_answers = True
    async with port.client() as client, client.chat.converse() as session:
        assert await session.send(name, "once") == 2
    assert texts(port.chat.events[name]) == ["once"]
    assert len(port.chat.requests) == 3
    assert len(set(port.chat.requests)) == 2


async def test_events_come_once_and_in_order_over_broken_connections(port: Harbour) -> None:
    name = await group(port)
    port.chat.faults.frames = [1, 1, 2]
    port.chat.faults.drain_after = [-1, -1, -1, 1]
    async with port.client() as client, client.chat.converse() as session:
        session.subscribe(name)
        heard = asyncio.create_task(first(30, session))
        for number in range(29):
            await session.send(name, f"{number}")
        events = await heard
    assert [event.version for _, event in events] == list(range(1, 31))
    assert port.chat.streams >= 4


async def test_at_most_a_window_is_unanswered(port: Harbour) -> None:
    name = await group(port)
    port.chat.faults.items = {"0": status(grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE", retry_after=0.5)}
    async with port.client() as client, client.chat.converse(window=1) as session:
        held = await session.post(said(name, "0"))
        second = asyncio.create_task(session.post(said(name, "1")))
        await asyncio.wait([second], timeout=0.02)
        assert not second.done()
        assert await held == chat_service_pb2.SendResult(request_id=(await held).request_id, version=2)
        await second
    assert texts(port.chat.events[name]) == ["0", "1"]


async def test_what_is_refused_is_refused_alone(port: Harbour) -> None:
    name = await group(port)
    port.chat.faults.items = {"bad": status(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")}
    async with port.client() as client, client.chat.converse() as session:
        with pytest.raises(AlreadyExists):
            await session.send(name, "bad")
        assert await session.send(name, "good") == 2


async def test_a_send_that_breaks_a_rule_never_reaches_the_stream(port: Harbour) -> None:
    name = await group(port)
    async with port.client() as client, client.chat.converse() as session:
        with pytest.raises(InvalidArgument) as caught:
            await session.send(name, "x" * 20_000)
        assert await session.send(name, "good") == 2
    assert caught.value.field_violations[0].field == "content.text"


async def test_a_reader_that_does_not_read_keeps_nobody_waiting_and_misses_nothing(port: Harbour) -> None:
    name = await group(port)
    async with port.client() as client, client.chat.converse() as session:
        slow = client.chat.converse(buffer=8)
        async with slow:
            slow.subscribe(name)
            await first(1, slow)
            for number in range(200):
                await session.send(name, f"{number}")
            assert await slow.send(name, "answered all the same") == 202
            events = await first(201, slow)
    assert [event.version for _, event in events] == list(range(2, 203))


async def test_a_subscription_can_be_moved(port: Harbour) -> None:
    name = await group(port)
    await port.chat.say(name, 9)
    async with port.client() as client, client.chat.converse() as session:
        session.subscribe(name, after=8)
        assert [event.version for _, event in await first(2, session)] == [9, 10]
        session.subscribe(name, after=3)
        assert [event.version for _, event in await first(7, session)] == [4, 5, 6, 7, 8, 9, 10]


async def test_a_hole_ends_the_session(port: Harbour) -> None:
    name = await group(port)
    port.chat.faults.skip = 2
    async with port.client() as client, client.chat.converse() as session:
        session.subscribe(name)
        await first(1, session)
        await port.chat.say(name, 2)
        with pytest.raises(VersionGap):
            await first(2, session)
        with pytest.raises(VersionGap):
            await session.send(name, "too late")


async def test_a_refused_stream_fails_all_that_waits(port: Harbour) -> None:
    name = await group(port)
    # More than once: a write under way when a stream ends may hide why it ended, and then it is tried again.
    port.chat.faults.frames = [status(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")] * 5
    async with port.client() as client, client.chat.converse() as session:
        with pytest.raises(Unauthenticated):
            await session.send(name, "who am I")
        with pytest.raises(Unauthenticated):
            await first(1, session)


async def test_closing_does_not_leave_anyone_waiting(port: Harbour) -> None:
    name = await group(port)
    port.chat.faults.items = {"held": status(grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE", retry_after=30)}
    waiting: asyncio.Future[chat_service_pb2.SendResult] | None = None
    async with port.client() as client:
        with pytest.raises(RuntimeError, match="on purpose"):
            async with client.chat.converse() as session:
                waiting = await session.post(said(name, "held"))
                raise RuntimeError("on purpose")
    assert waiting is not None
    with pytest.raises(SessionClosed):
        await waiting


async def test_a_send_is_given_up_in_time(port: Harbour) -> None:
    name = await group(port)
    port.chat.faults.items = {"held": status(grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE", retry_after=30)}
    async with port.client() as client, client.chat.converse(timeout=0.3) as session:
        with pytest.raises(DeadlineExceeded):
            await session.send(name, "held")
