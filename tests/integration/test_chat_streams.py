"""Chat's streams: resume without loss or doubling, removal, drain, bad frames, readers that do not read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.hidden_ends import hides_the_end
from tests.integration.chat_world import ChatWorld, Talk, User, chat_world, reason_of, request_id, watched
from tests.servers import NatsServer


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def remove(name: str, *user_ids: str) -> pb.RemoveMembersRequest:
    return pb.RemoveMembersRequest(request_id=request_id(), conversation_id=name, user_ids=user_ids)


def add(name: str, *user_ids: str) -> pb.AddMembersRequest:
    return pb.AddMembersRequest(request_id=request_id(), conversation_id=name, user_ids=user_ids)


async def test_a_watcher_gets_what_was_and_then_what_comes(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group("bob")).conversation_id
    for number in range(5):
        await ada.send(name, f"{number}")
    stream = world.user("bob").watch(name)
    events = await watched(stream, 6)
    await ada.send(name, "live")
    events += await watched(stream, 1)
    assert [event.version for event in events] == list(range(1, 8))
    assert events[-1].message.text == "live"
    resumed = world.user("bob").watch(name, after=4)
    assert [event.version for event in await watched(resumed, 3)] == [5, 6, 7]
    stream.cancel()
    resumed.cancel()


async def test_a_stream_cut_at_random_resumes_with_nothing_lost_and_nothing_twice(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    total, chance = 300, random.Random(7)

    async def speak() -> None:
        """Sends everything; each stream is cut after some sends, and what it left unanswered is sent again."""
        unanswered = {said.request_id: said for said in (ada.message(name, f"{number}") for number in range(total))}
        while unanswered:
            talk = ada.converse()
            batch = list(unanswered.values())[: chance.randint(1, 60)]
            for start in range(0, len(batch), 20):
                await talk.write(*batch[start : start + 20])
            cut_after = chance.randint(0, len(batch))
            await talk.until(lambda t, n=cut_after: len(t.results) >= n)  # type: ignore[misc]
            talk.call.cancel()
            for request in talk.results:
                unanswered.pop(request, None)

    async def listen() -> list[int]:
        seen: list[int] = []
        while len(seen) < total + 1:
            talk = bob.converse()
            await talk.write(subscribe={name: seen[-1] if seen else 0})
            enough = min(total + 1 - len(seen), chance.randint(1, 50))
            await talk.until(lambda t, n=enough: len(t.versions(name)) >= n)  # type: ignore[misc]
            talk.call.cancel()
            seen += talk.versions(name)
        return seen

    _, seen = await asyncio.gather(speak(), listen())
    assert seen == list(range(1, total + 2))
    page = pb.ListMessagesRequest(conversation_id=name, oldest_first=True, page_size=500)
    said = [message.content.text for message in (await ada.call("ListMessages", page)).messages]
    assert sorted(said, key=int) == [str(number) for number in range(total)]


async def test_sends_of_one_conversation_keep_their_order(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    talk = ada.converse()
    sends = [ada.message(name, f"{number}") for number in range(200)]
    await talk.write(*sends[:150])
    await talk.write(*sends[150:], subscribe={name: 0})
    await talk.until(lambda t: len(t.results) == 200 and len(t.versions(name)) == 201)
    assert [talk.results[said.request_id].version for said in sends] == list(range(2, 202))
    assert [event.message.text for event in talk.events[name][1:]] == [f"{number}" for number in range(200)]
    await talk.write(*sends[:10], unsubscribe=[name])
    again = ada.converse()
    await again.write(*sends[:10])
    await again.call.done_writing()
    await again.until(lambda t: t.over)
    assert again.results == {said.request_id: talk.results[said.request_id] for said in sends[:10]}
    talk.call.cancel()


async def test_refusals_are_per_send_and_the_stream_goes_on(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    talk = ada.converse()
    good = ada.message(name, "fine")
    elsewhere, empty, foreign = (
        ada.message("nowhere", "x"),
        ada.message(name, ""),
        ada.message(name, "x", sender_id="bob"),
    )
    dangling = ada.message(name, "x")
    dangling.content.reply_to.append(77)
    reused = ada.message(name, "other")
    reused.request_id = good.request_id
    await talk.write(elsewhere, good, empty, dangling, foreign, subscribe={"nowhere": 0})
    await talk.until(lambda t: len(t.results) == 5 and bool(t.ended))
    assert talk.ended == {"nowhere": "NOT_FOUND"}
    assert talk.results[good.request_id].version == 2
    assert not talk.results[good.request_id].HasField("error")
    codes = [talk.results[said.request_id].error.code for said in (elsewhere, empty, dangling, foreign)]
    wanted = ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "PERMISSION_DENIED")
    assert codes == [getattr(grpc.StatusCode, code).value[0] for code in wanted]
    del talk.results[good.request_id]
    await talk.write(reused)
    await talk.until(lambda t: reused.request_id in t.results)
    assert talk.results[reused.request_id].error.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    talk.call.cancel()


async def test_random_bytes_end_their_stream_and_nothing_else(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    chance = random.Random(11)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}")
    sound = pb.ConverseRequest(sends=[ada.message(name, "hello" * 20)], subscribe=[pb.Subscribe(conversation_id=name)])
    for method in ("Converse", "Watch", "SendMessage", "CreateConversation"):
        for _ in range(25):
            data = bytearray(sound.SerializeToString() if chance.random() < 0.7 else chance.randbytes(60))
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            stream: Any = channel.stream_stream(f"/tradewind.chat.v1.ChatService/{method}")(
                metadata=ada.metadata, timeout=60
            )
            try:
                await stream.write(bytes(data))
                await stream.done_writing()
                await asyncio.wait_for(stream.read(), 1)
            except grpc.aio.AioRpcError as error:
                assert hides_the_end(error) or error.code() in (
                    grpc.StatusCode.INVALID_ARGUMENT,
                    grpc.StatusCode.NOT_FOUND,
                )
            except TimeoutError:
                pass  # a subscription to something that does not end
            except asyncio.InvalidStateError:
                pass  # the stream had ended before all was written
            stream.cancel()
    await channel.close()
    assert await ada.send(name, "still there") > 1


async def test_a_removed_member_hears_of_it_and_of_nothing_after(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group("bob", "cy")).conversation_id
    bob, cy, chief = world.user("bob"), world.user("cy"), world.user("chief", "admin")
    watching, staying, above = bob.watch(name), cy.watch(name), chief.watch(name)
    talk = bob.converse()
    await talk.write(subscribe={name: 0})
    await talk.until(lambda t: t.versions(name) == [1])
    for stream in (watching, staying, above):
        await watched(stream, 1)
    # All in one go, so that the removal and what follows it may share an entry and a frame.
    sends = [ada.message(name, "bob" * 3) for _ in range(20)]
    voice = ada.converse()
    await voice.write(*sends[:10])
    removal = ada.call("RemoveMembers", remove(name, "bob"))
    await voice.write(*sends[10:])
    await voice.until(lambda t: len(t.results) == 20)
    await removal
    everything = await watched(staying, 21)
    assert [event.version for event in everything] == list(range(2, 23))
    assert len(await watched(above, 21)) == 21
    gone_at = next(event.version for event in everything if event.HasField("members_removed"))
    await talk.until(lambda t: bool(t.ended))
    assert talk.versions(name) == list(range(1, gone_at + 1))
    assert talk.ended == {name: "NOT_A_MEMBER"}
    seen: list[int] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while True:
            seen += [event.version for event in (await watching.read()).events]
    assert seen == list(range(2, gone_at + 1))
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")
    await talk.write(subscribe={name: gone_at})
    await talk.until(lambda t: t.ended[name] == "NOT_FOUND")
    await ada.send(name, "unheard")
    back = bob.message(name, "anybody?")
    await talk.write(back)
    await talk.until(lambda t: back.request_id in t.results)
    assert talk.versions(name) == list(range(1, gone_at + 1))
    for stream in (staying, above, talk.call, voice.call):
        stream.cancel()


async def test_who_is_let_in_again_reads_all_of_it(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    await ada.call("RemoveMembers", remove(name, "bob"))
    await ada.send(name, "behind his back")
    await ada.call("AddMembers", add(name, "bob"))
    await ada.send(name, "bob")
    stream = bob.watch(name)
    assert [event.version for event in await watched(stream, 5)] == [1, 2, 3, 4, 5]
    await ada.send(name, "bob again")
    assert len(await watched(stream, 1)) == 1
    stream.cancel()


async def test_a_place_ahead_of_the_conversation_opens_no_door(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    talk = bob.converse()
    await talk.write(subscribe={name: 4})
    stream = bob.watch(name, after=4)
    far = bob.converse()
    await far.write(subscribe={name: 2**63})
    await far.until(lambda t: t.ended == {name: "INVALID_FIELD"})
    await ada.call("RemoveMembers", remove(name, "bob"))
    for number in range(5):
        await ada.send(name, f"secret {number}")
    await talk.until(lambda t: bool(t.ended))
    assert (talk.ended, talk.events) == ({name: "NOT_A_MEMBER"}, {})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert reason_of(caught.value) == "NOT_A_MEMBER"
    far.call.cancel()
    talk.call.cancel()


async def test_a_subscription_can_be_moved_and_ended(world: ChatWorld) -> None:
    ada = world.user("ada")
    name = (await ada.create_group()).conversation_id
    for number in range(9):
        await ada.send(name, f"{number}")
    talk = ada.converse()
    await talk.write(subscribe={name: 0})
    await talk.until(lambda t: len(t.versions(name)) == 10)
    talk.events.clear()
    await talk.write(subscribe={name: 7})
    await talk.until(lambda t: len(t.versions(name)) == 3)
    assert talk.versions(name) == [8, 9, 10]
    other = ada.message(name, "unheard")
    await talk.write(other, unsubscribe=[name])
    await talk.until(lambda t: other.request_id in t.results)
    assert talk.versions(name) == [8, 9, 10]
    await talk.call.done_writing()
    await talk.until(lambda t: t.over)


async def test_a_draining_server_answers_says_goodbye_and_ends_its_streams(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        talk, stream = ada.converse(), ada.watch(name)
        await talk.write(subscribe={name: 0})
        await talk.until(lambda t: len(t.versions(name)) == 1)
        await watched(stream, 1)
        sends = [ada.message(name, f"{number}") for number in range(100)]
        await talk.write(*sends)
        await talk.until(lambda t: len(t.results) > 0)
        draining = asyncio.create_task(world.server.drain())
        await talk.until(lambda t: t.over)
        assert talk.going_away is not None
        assert len(talk.results) == 100
        frames = []
        while (frame := await stream.read()) is not grpc.aio.EOF:
            frames.append(frame)
        assert frames[-1].HasField("going_away")
        await draining


async def test_a_reader_that_does_not_read_costs_bounded_memory_and_loses_nothing(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    small = [("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]
    slow = world.user("bob", options=small).converse()
    await slow.write(subscribe={name: 0})
    # It also sends, without ever fetching an answer: reading its frames must stop, not grow.
    flood = [bob.message(name, "x" * 1000) for _ in range(4000)]

    async def pour() -> None:
        for start in range(0, len(flood), 100):
            await slow.write(*flood[start : start + 100])

    pouring = asyncio.create_task(pour())
    talk = ada.converse()
    big = [ada.message(name, "y" * 16_000) for _ in range(1500)]
    for start in range(0, len(big), 50):
        await talk.write(*big[start : start + 50])
    await talk.until(lambda t: len(t.results) == len(big), 60)
    talk.call.cancel()
    await slow.until(lambda t: len(t.results) == len(flood) and len(t.versions(name)) == 5501, 60)
    await pouring
    assert slow.versions(name) == list(range(1, 5502))
    slow.call.cancel()


async def test_a_hundred_members_talk_and_all_see_the_same(world: ChatWorld) -> None:
    names = [f"user-{number}" for number in range(100)]
    owner = world.user(names[0])
    name = (await owner.create_group(*names[1:])).conversation_id
    users = [owner, *(world.user(user_id) for user_id in names[1:])]
    total = 1 + 5 * len(users)

    async def take_part(user: User) -> Talk:
        talk = user.converse()
        await talk.write(subscribe={name: 0})
        for number in range(5):
            await talk.write(user.message(name, f"{user.id} {number}"))
        await talk.until(lambda t: len(t.results) == 5 and len(t.versions(name)) == total, 60)
        return talk

    talks = await asyncio.gather(*map(take_part, users))
    first = talks[0].events[name]
    assert [event.version for event in first] == list(range(1, total + 1))
    for talk in talks[1:]:
        assert talk.events[name] == first
    for talk in talks:
        talk.call.cancel()


async def test_two_servers_of_one_log_are_one_conversation(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as one, chat_world(own_nats_server.url, tmp_path) as other:
        ada, bob = one.user("ada"), other.user("bob")
        name = (await ada.create_group("bob")).conversation_id
        here, there = ada.converse(), bob.converse()
        await here.write(subscribe={name: 0})
        await there.write(subscribe={name: 0})
        for number in range(40):
            await here.write(ada.message(name, f"a{number}"))
            await there.write(bob.message(name, f"b{number}"))
        for talk in (here, there):
            await talk.until(lambda t: len(t.versions(name)) == 81 and len(t.results) == 40)
            assert talk.versions(name) == list(range(1, 82))
        assert here.events[name] == there.events[name]
        here.call.cancel()
        there.call.cancel()
