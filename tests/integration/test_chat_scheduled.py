"""Messages that are sent later, through gRPC, on a real log and store: sent once, or not at all, whoever dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import chat_pb2, schedule_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import schedule_service_pb2 as pb

from services.chat.scheduling import domain
from services.ledger.decider import Request
from services.ledger.errors import HistoryGap
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from tests.integration.chat_world import ChatWorld, User, chat_world, reason_of, refused, request_id
from tests.servers import NatsServer
from tests.tally import eventually

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
WAITING, FAILED = pb.SCHEDULED_STATE_WAITING, pb.SCHEDULED_STATE_FAILED


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def call(user: User, method: str, request: Any) -> Any:
    stub = schedule_service_pb2_grpc.ScheduleServiceStub(user.channel)
    return getattr(stub, method)(request, metadata=user.metadata)


def at(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(time.time_ns() + int(seconds * 1e9))
    return stamp


def asking(name: str, text: str, seconds: float, **content: Any) -> pb.ScheduleMessageRequest:
    return pb.ScheduleMessageRequest(
        request_id=request_id(),
        conversation_id=name,
        content=chat_pb2.MessageContent(text=text, **content),
        send_time=at(seconds),
    )


async def schedule(user: User, name: str, text: str, seconds: float, **content: Any) -> pb.ScheduledMessage:
    answer = await call(user, "ScheduleMessage", asking(name, text, seconds, **content))
    made: pb.ScheduledMessage = answer.scheduled_message
    return made


async def soon(user: User, message: pb.ScheduledMessage, **content: Any) -> pb.ScheduledMessage:
    """Have it sent in a second; in more where the machine is so busy that the second is over before the server looks."""
    for seconds in (1.0, 3.0, 10.0):
        change = pb.UpdateScheduledMessageRequest(
            request_id=request_id(), scheduled_id=message.scheduled_id, send_time=at(seconds)
        )
        if content:
            change.content.CopyFrom(chat_pb2.MessageContent(**content))
        try:
            changed = [(await call(user, "UpdateScheduledMessage", change)).scheduled_message for _ in range(2)]
        except grpc.aio.AioRpcError as error:
            assert reason_of(error) == "INVALID_FIELD"
            continue
        assert changed[0] == changed[1]  # a repeated request has the first answer
        first: pb.ScheduledMessage = changed[0]
        return first
    raise AssertionError("the server did not look in time")


async def waiting(user: User, **fields: Any) -> list[pb.ScheduledMessage]:
    answer = await call(user, "ListScheduledMessages", pb.ListScheduledMessagesRequest(**fields))
    return list(answer.scheduled_messages)


async def said(user: User, name: str) -> list[tuple[str, str]]:
    request = chat.ListMessagesRequest(conversation_id=name, oldest_first=True)
    return [(each.sender_id, each.content.text) for each in (await user.call("ListMessages", request)).messages]


async def until_said(user: User, name: str, *texts: str) -> None:
    async def is_said() -> bool:
        return [text for _, text in await said(user, name)] == list(texts)

    await eventually(is_said)


def cancelling(message: pb.ScheduledMessage) -> pb.CancelScheduledMessageRequest:
    return pb.CancelScheduledMessageRequest(request_id=request_id(), scheduled_id=message.scheduled_id)


async def test_it_is_sent_at_its_time_and_listed_until_then(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    root = await bob.send(name, "now")
    late = await schedule(ada, name, "much later", 3600)
    early = await schedule(ada, name, "soon", 1800, thread_root=root, reply_to=[root])
    assert [each.content.text for each in await waiting(ada)] == ["soon", "much later"]
    assert await waiting(bob) == []
    page = await call(ada, "ListScheduledMessages", pb.ListScheduledMessagesRequest(page_size=1))
    more = pb.ListScheduledMessagesRequest(page_size=1, page_token=page.next_page_token)
    rest = await call(ada, "ListScheduledMessages", more)
    assert [each.content.text for each in (*page.scheduled_messages, *rest.scheduled_messages)] == [
        "soon",
        "much later",
    ]
    assert not rest.next_page_token
    early = await soon(ada, early)
    await until_said(bob, name, "now", "soon")
    assert early.send_time.ToNanoseconds() <= time.time_ns()
    request = chat.ListMessagesRequest(conversation_id=name, thread_root=root)
    (answer,) = (await bob.call("ListMessages", request)).messages
    assert (answer.sender_id, list(answer.content.reply_to)) == ("ada", [root])
    assert answer.send_time.ToNanoseconds() >= early.send_time.ToNanoseconds()

    async def is_off_the_list() -> bool:
        return await waiting(ada) == [late]

    await eventually(is_off_the_list)


async def test_it_is_changed_and_cancelled_until_it_is_sent(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    one, other = await schedule(ada, name, "one", 3600), await schedule(ada, name, "other", 3600)
    assert (await soon(ada, one, text="better")).content.text == "better"
    await call(ada, "CancelScheduledMessage", cancelling(other))
    await until_said(ada, name, "better")

    async def is_empty() -> bool:
        return not await waiting(ada)

    await eventually(is_empty)
    for message in (one, other):
        assert await refused(call(ada, "CancelScheduledMessage", cancelling(message))) == NOT_FOUND
    for bad in (asking(name, "past", -1), asking(name, "far", 400 * 86400)):
        assert (await refused(call(ada, "ScheduleMessage", bad)))[1] == "INVALID_FIELD"


async def test_rules_are_looked_at_again_when_it_is_due(world: ChatWorld) -> None:
    ada, bob, cy = world.user("ada"), world.user("bob"), world.user("cy")
    name = (await ada.create_group("bob", "cy")).conversation_id
    assert await refused(schedule(world.user("eve"), name, "hello", 60)) == NOT_FOUND
    left = await schedule(bob, name, "from one who left", 3600)
    muted = await schedule(cy, name, "from one who is muted", 3600)
    await bob.call("LeaveConversation", chat.LeaveConversationRequest(request_id=request_id(), conversation_id=name))
    await ada.call("MuteMember", chat.MuteMemberRequest(request_id=request_id(), conversation_id=name, user_id="cy"))
    await soon(bob, left)
    await soon(cy, muted)

    async def both_failed() -> bool:
        found = [each for user in (bob, cy) for each in await waiting(user)]
        return [(each.state, each.failure_reason) for each in found] == [(FAILED, "NOT_FOUND"), (FAILED, "MUTED")]

    await eventually(both_failed)
    assert await said(ada, name) == []
    (failed,) = await waiting(cy)
    await call(cy, "CancelScheduledMessage", cancelling(failed))  # it is seen, and off the list
    assert await waiting(cy) == []


async def test_slow_mode_makes_it_wait(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    slow = chat.UpdateConversationRequest(request_id=request_id(), conversation_id=name, slow_mode_seconds=2)
    await ada.call("UpdateConversation", slow)
    second_one = await schedule(bob, name, "second", 3600)
    await bob.send(name, "first")
    await soon(bob, second_one)
    await until_said(ada, name, "first", "second")
    messages = (await ada.call("ListMessages", chat.ListMessagesRequest(conversation_id=name))).messages
    second, first = [each.send_time.ToNanoseconds() for each in messages]
    assert second - first >= 2_000_000_000


async def test_a_restart_in_between_and_two_processes_send_it_once(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        wanted = asking(name, "once", 3600)
        first = await call(ada, "ScheduleMessage", wanted)
        again = await call(ada, "ScheduleMessage", wanted)
        assert first == again
        await soon(ada, first.scheduled_message)
    async with chat_world(own_nats_server.url, tmp_path) as one, chat_world(own_nats_server.url, tmp_path) as other:
        ada = one.user("ada")
        await until_said(ada, name, "once")
        for world in (one, other):
            # It comes at least once: what it finds done it does not again.
            await soon(world.user("ada"), await schedule(world.user("ada"), name, "last", 3600))
        await until_said(ada, name, "once", "last", "last")


async def test_a_send_that_was_begun_is_finished_and_cannot_be_cancelled(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        message = await soon(ada, await schedule(ada, name, "begun", 3600))
        await _until_due(message)
        # As if a process died right after it marked the message: nobody knows whether it was sent.
        begin = domain.Begin(time.time_ns() // 1000, message.scheduled_id)
        aggregate = AggregateId("acme", "schedule", "ada")
        await world.ledger.execute(aggregate, begin, Request(request_id(), b"begin"))
        outcome = await asyncio.gather(call(ada, "CancelScheduledMessage", cancelling(message)), return_exceptions=True)
        assert isinstance(outcome[0], grpc.aio.AioRpcError)  # begun, or sent since
        await until_said(ada, name, "begun")


async def test_a_repeated_request_has_its_first_answer_whatever_became_of_it_since(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    wanted = asking(name, "hello", 3600)
    first = await call(bob, "ScheduleMessage", wanted)
    scheduled_id = first.scheduled_message.scheduled_id
    change = pb.UpdateScheduledMessageRequest(
        request_id=request_id(), scheduled_id=scheduled_id, content=chat_pb2.MessageContent(text="bye")
    )
    changed = await call(bob, "UpdateScheduledMessage", change)
    await call(bob, "CancelScheduledMessage", cancelling(first.scheduled_message))
    await bob.call("LeaveConversation", chat.LeaveConversationRequest(request_id=request_id(), conversation_id=name))
    assert await call(bob, "ScheduleMessage", wanted) == first
    assert await call(bob, "UpdateScheduledMessage", change) == changed
    change.request_id = request_id()
    assert await refused(call(bob, "UpdateScheduledMessage", change)) == NOT_FOUND
    assert await refused(schedule(bob, name, "again", 60)) == NOT_FOUND
    assert await waiting(bob) == []


async def test_only_so_many_wait(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    made = await asyncio.gather(*(schedule(ada, name, str(number), 3600 + number) for number in range(100)))
    assert await refused(schedule(ada, name, "more", 60)) == (grpc.StatusCode.FAILED_PRECONDITION, "SCHEDULED_LIMIT")
    await call(ada, "CancelScheduledMessage", cancelling(made[0]))
    await schedule(ada, name, "more", 3600)
    assert len(await waiting(ada, page_size=100)) == 100


async def _until_due(message: pb.ScheduledMessage) -> None:
    async def is_due() -> bool:
        return time.time_ns() >= message.send_time.ToNanoseconds()

    await eventually(is_due)


async def test_a_conversation_with_a_gap_keeps_no_other_message_waiting(
    world: ChatWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = world.user("ann"), world.user("bob")
    broken = (await ann.create_group("bob")).conversation_id
    whole = (await ann.create_group("bob")).conversation_id
    first = await schedule(ann, broken, "into the gap", 600)
    second = await schedule(ann, whole, "and this", 600)
    read = Ledger.read

    async def gap(ledger: Ledger, aggregate: AggregateId, **options: Any) -> Any:
        if aggregate.id == broken:
            raise HistoryGap("an entry is missing")
        return await read(ledger, aggregate, **options)

    monkeypatch.setattr(Ledger, "read", gap)
    await soon(ann, first)
    await soon(ann, second)
    await until_said(bob, whole, "and this")

    async def only_it_waits() -> bool:
        return [(each.scheduled_id, each.state) for each in await waiting(ann)] == [(first.scheduled_id, WAITING)]

    await eventually(only_it_waits)
