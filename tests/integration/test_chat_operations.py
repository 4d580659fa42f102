"""Everything over one stream: operations beside sends, credit, heartbeats, and what is refused item by item."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_pb2, presence_service_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.sdk import Client

from services.chat.flow import Flow
from services.chat.operations import MOST_WAITING
from tests.integration.chat_world import ChatWorld, chat_world, reason_in, refused, request_id
from tests.servers import NatsServer


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as made:
        yield made


async def test_a_whole_life_of_a_message_over_one_stream(world: ChatWorld) -> None:
    ann, bob = world.user("ann"), world.user("bob")
    group = (await ann.create_group("bob")).conversation_id
    there = (await ann.create_group("bob")).conversation_id
    said = await ann.send(group, "Lunsh?")
    about: Any = {"conversation_id": group, "message_version": said}
    talk, hers = bob.converse(), ann.converse()
    await hers.write(
        operations=[
            pb.Operation(
                operation_id=1,
                edit=pb.EditMessageRequest(
                    request_id=request_id(), content=chat_pb2.MessageContent(text="Lunch?"), **about
                ),
            ),
            pb.Operation(operation_id=2, pin=pb.PinMessageRequest(request_id=request_id(), **about)),
            pb.Operation(operation_id=3, unpin=pb.UnpinMessageRequest(request_id=request_id(), **about)),
        ]
    )
    await hers.until(lambda talk: len(talk.done) == 3)
    await talk.write(
        subscribe={group: 0},
        operations=[
            pb.Operation(
                operation_id=1, add_reaction=pb.AddReactionRequest(request_id=request_id(), emoji="👍", **about)
            ),
            pb.Operation(
                operation_id=2, remove_reaction=pb.RemoveReactionRequest(request_id=request_id(), emoji="👍", **about)
            ),
            pb.Operation(
                operation_id=3,
                forward=pb.ForwardMessageRequest(
                    request_id=request_id(),
                    conversation_id=there,
                    from_conversation_id=group,
                    message_version=said,
                ),
            ),
            pb.Operation(operation_id=4, delete=pb.DeleteMessageRequest(request_id=request_id(), for_me=True, **about)),
            pb.Operation(operation_id=5, mark=pb.MarkMessagesRequest(conversation_id=group, read_version=said)),
            pb.Operation(operation_id=6, pin=pb.PinMessageRequest(request_id=request_id(), **about)),
        ],
    )
    await talk.until(lambda talk: len(talk.done) == 6 and talk.versions(group)[-1:] == [7])
    assert not any(hers.done[number].HasField("error") for number in hers.done)
    assert hers.done[1].version == 3
    assert {number: reason_in(done.error) for number, done in talk.done.items() if done.HasField("error")} == {
        6: "FORBIDDEN"
    }
    assert (talk.done[3].version, talk.done[3].HasField("send_time")) == (2, True)
    assert (talk.done[5].unread.read_version, talk.done[5].unread.count) == (said, 0)
    kinds = [event.WhichOneof("event") for event in talk.events[group]]
    assert kinds == ["created", "message", "edited", "pinned", "unpinned", "reaction_added", "reaction_removed"]
    for call in (talk.call, hers.call):
        call.cancel()


async def test_an_operation_again_is_done_once(world: ChatWorld) -> None:
    ann = world.user("ann")
    group = (await ann.create_group()).conversation_id
    said = await ann.send(group, "one")
    edit = pb.EditMessageRequest(
        request_id=request_id(),
        conversation_id=group,
        message_version=said,
        content=chat_pb2.MessageContent(text="two"),
    )
    talk = ann.converse()
    await talk.write(operations=[pb.Operation(operation_id=n, edit=edit) for n in range(3)])
    await talk.until(lambda talk: len(talk.done) == 3)
    assert {done.version for done in talk.done.values()} == {said + 1}
    # After the half-close all is answered, and then the stream ends.
    await talk.write(operations=[pb.Operation(operation_id=4, edit=edit)])
    await talk.call.done_writing()
    await talk.until(lambda talk: talk.over)
    assert 4 in talk.done


async def test_what_breaks_a_rule_is_refused_by_itself_and_the_stream_goes_on(world: ChatWorld) -> None:
    ann = world.user("ann")
    group = (await ann.create_group()).conversation_id
    good, bad, worse = (ann.message(group, "fine") for _ in range(3))
    bad.content.text = "x" * 20_000
    worse.conversation_id = "no such name!"
    talk = ann.converse()
    await talk.write(
        bad,
        good,
        worse,
        subscribe={group: 0, "not an id": 0},
        operations=[
            pb.Operation(operation_id=1),
            pb.Operation(
                operation_id=2,
                add_reaction=pb.AddReactionRequest(
                    request_id=request_id(), conversation_id=group, message_version=1, emoji="a b"
                ),
            ),
        ],
    )
    await talk.until(lambda talk: len(talk.results) == 3 and len(talk.done) == 2 and bool(talk.ended))
    assert [reason_in(talk.results[said.request_id].error) for said in (bad, good, worse)] == [
        "INVALID_FIELD",
        "",
        "INVALID_FIELD",
    ]
    assert talk.ended == {"not an id": "INVALID_FIELD"}
    assert {reason_in(done.error) for done in talk.done.values()} == {"INVALID_FIELD"}
    await talk.until(lambda talk: talk.versions(group) == [1, 2])
    talk.call.cancel()


async def test_a_frame_that_holds_too_much_ends_its_stream(world: ChatWorld) -> None:
    ann = world.user("ann")
    for frame in (
        pb.ConverseRequest(operations=[pb.Operation(operation_id=n) for n in range(257)]),
        pb.ConverseRequest(flow=pb.Flow(heartbeat_seconds=301)),
    ):
        talk = ann.converse()
        await talk.call.write(frame)
        assert await refused(talk.call.read()) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_more_operations_than_may_wait_are_all_done(world: ChatWorld) -> None:
    ann = world.user("ann")
    group = (await ann.create_group()).conversation_id
    talk, many = ann.converse(), 2 * MOST_WAITING + 10
    mark = pb.MarkMessagesRequest(conversation_id=group, read_version=1)
    for first in range(0, many, 256):
        await talk.write(
            operations=[pb.Operation(operation_id=n, mark=mark) for n in range(first, min(many, first + 256))]
        )
    await talk.until(lambda talk: len(talk.done) == many)
    assert list(talk.done) == list(range(many))
    talk.call.cancel()


async def test_without_credit_nothing_is_delivered_and_sends_are_answered(world: ChatWorld) -> None:
    ann = world.user("ann")
    group = (await ann.create_group()).conversation_id
    await ann.send(group, "one")
    talk = ann.converse()
    await talk.write(subscribe={group: 0}, flow=pb.Flow(credit=1))
    await talk.until(lambda talk: talk.versions(group) == [1, 2])  # one run uses it up and exceeds it
    said = ann.message(group, "two")
    await talk.write(said)
    await talk.until(lambda talk: said.request_id in talk.results)
    again = ann.message(group, "three")
    await talk.write(again)
    await talk.until(lambda talk: again.request_id in talk.results)
    assert talk.versions(group) == [1, 2]
    await talk.write(flow=pb.Flow(credit=2))  # one is owed
    await talk.until(lambda talk: talk.versions(group) == [1, 2, 3, 4])
    talk.call.cancel()


async def test_a_silent_server_says_that_it_is_there_and_a_silent_client_is_let_go(world: ChatWorld) -> None:
    ann = world.user("ann")
    talk = ann.converse()
    await talk.write(flow=pb.Flow(heartbeat_seconds=1))
    await talk.until(lambda talk: talk.heartbeats == 2)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await talk.until(lambda talk: False)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def sees_typing(client: Client, group: str, user_id: str) -> None:
    async for typing in client.presence.watch_typing([group]):
        assert isinstance(typing, presence_service_pb2.Typing)
        if list(typing.user_ids) == [user_id]:
            return


async def test_a_session_of_the_client_speaks_and_is_spoken_to(world: ChatWorld) -> None:
    ann = world.user("ann")
    group = (await ann.create_group("bob")).conversation_id
    token = ann.metadata[0][1].removeprefix("Bearer ")
    async with (
        Client(f"127.0.0.1:{world.server.port}", token) as client,
        client.chat.converse(heartbeat=1) as session,
        Client(f"127.0.0.1:{world.server.port}", world.user("bob").metadata[0][1].removeprefix("Bearer ")) as other,
        other.chat.converse() as speaker,
    ):
        version = await session.send(group, "Hello")
        await session.react(group, version, "👋")
        await session.typing(group)
        listening = asyncio.create_task(sees_typing(client, group, "bob"))
        async with asyncio.timeout(60):
            while not listening.done():
                await speaker.typing(group)
                await asyncio.wait([listening], timeout=0.2)
        await session.edit(group, version, chat_pb2.MessageContent(text="Hello, all"))
        assert (await session.mark(group, read=version)).read_version == version
        await session.react(group, version, "👋", remove=True)
        await session.delete(group, version)
        await asyncio.sleep(3.5)  # longer than a client may be silent: it is heard although nothing was to be said
        assert await session.send(group, "Still there") == version + 5
        assert session.error is None


async def test_a_flow_that_asked_nothing_has_no_timer() -> None:
    flow = Flow(lambda _: None, lambda: None)
    flow.said()
    flow.heard(listens=True)
    assert not flow.holds
    assert flow.failure is None
    flow.close()


async def test_whom_the_server_does_not_read_is_not_called_silent() -> None:
    over = asyncio.Event()
    flow = Flow(lambda _: None, over.set)
    flow.ask(pb.Flow(heartbeat_seconds=1))
    flow.heard(listens=False)
    await asyncio.sleep(4.2)
    assert flow.failure is None
    flow.heard(listens=True)
    await asyncio.wait_for(over.wait(), 60)
    assert flow.failure is not None
    flow.close()
