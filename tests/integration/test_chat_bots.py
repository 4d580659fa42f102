"""Services that talk: cards with actions, presses as a stream, answers; through gRPC, on a real log and store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zlib import crc32

import grpc
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from tradewind.chat.v1 import bot_service_pb2 as pb
from tradewind.chat.v1 import bot_service_pb2_grpc, chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat

from services.chat.bots import kind
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world, refused, request_id
from tests.servers import NatsServer

FORBIDDEN = (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
NO_SUCH_ACTION = (grpc.StatusCode.FAILED_PRECONDITION, "NO_SUCH_ACTION")
NO_SUCH_MESSAGE = (grpc.StatusCode.FAILED_PRECONDITION, "NO_SUCH_MESSAGE")


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def ask(user: User, rpc: str, **fields: Any) -> Any:
    """Call an rpc of bots; those that write are given a request id."""
    request = getattr(pb, f"{rpc}Request")(**fields)
    if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
        request.request_id = request_id()
    return getattr(bot_service_pb2_grpc.BotServiceStub(user.channel), rpc)(request, metadata=user.metadata)


def card(*ids: str, url: str = "") -> chat_pb2.MessageContent:
    actions = [chat_pb2.CardAction(id=each, label=each.title(), url=url) for each in ids]
    return chat_pb2.MessageContent(parts=[chat_pb2.Part(card=chat_pb2.Card(title="Pizza?", actions=actions))])


async def post(user: User, name: str, content: chat_pb2.MessageContent, sender: str = "") -> int:
    request = chat.SendMessageRequest(request_id=request_id(), conversation_id=name, content=content, sender_id=sender)
    return int((await user.call("SendMessage", request)).version)


async def edit(user: User, name: str, version: int, content: chat_pb2.MessageContent) -> None:
    request = chat.EditMessageRequest(
        request_id=request_id(), conversation_id=name, message_version=version, content=content
    )
    await user.call("EditMessage", request)


def press(user: User, name: str, version: int, action: str, **fields: Any) -> Any:
    return ask(user, "PressAction", conversation_id=name, message_version=version, action_id=action, **fields)


async def actions(bot: User, count: int, after: int = 0, share: pb.ActionShare | None = None) -> list[pb.ActionEvent]:
    stream = ask(bot, "WatchActions", after_version=after, share=share)
    found: list[pb.ActionEvent] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            found.extend((await stream.read()).events)
    stream.cancel()
    return found


async def with_bot(world: ChatWorld, *others: str) -> tuple[User, User, str]:
    """A group of ada's with a bot in it."""
    ada, bot = world.user("ada"), world.user("pizzabot", "service")
    return ada, bot, (await ada.create_group("pizzabot", *others)).conversation_id


async def test_what_is_pressed_goes_to_the_service_that_posted_the_card(world: ChatWorld) -> None:
    ada, bot, name = await with_bot(world, "bob")
    bob = world.user("bob")
    version = await post(bot, name, card("yes", "no"))
    intent = request_id()
    first = await press(ada, name, version, "yes", values={"size": "large"}, request_id=intent)
    again = await press(ada, name, version, "yes", values={"size": "large"}, request_id=intent)
    second = await press(bob, name, version, "no")
    assert (first.press_version, again.press_version, second.press_version) == (1, 1, 2)
    events = await actions(bot, 2)
    assert [(each.version, each.actor_id, each.pressed.action_id) for each in events] == [
        (1, "ada", "yes"),
        (2, "bob", "no"),
    ]
    assert (events[0].pressed.conversation_id, events[0].pressed.message_version) == (name, version)
    assert dict(events[0].pressed.values) == {"size": "large"}
    assert not events[0].pressed.HasField("content")
    stored = await world.ledger.history(kind.actions_of(TENANT, "pizzabot"), limit=10)
    assert not any(b"large" in each.payload for each in stored)  # sealed, as messages are


async def test_a_card_on_behalf_of_a_user_is_answered_by_the_service_and_both_are_recorded(world: ChatWorld) -> None:
    ada, bot, name = await with_bot(world)
    version = await post(bot, name, card("yes"), sender="ada")
    listed = await ada.watch(name, version - 1).read()
    assert [(each.actor_id, each.acting_service) for each in listed.events] == [("ada", "pizzabot")]
    await press(ada, name, version, "yes")
    assert [each.pressed.action_id for each in await actions(bot, 1)] == ["yes"]
    behalf = world.user("pizzabot", "service", on_behalf_of="ada")
    await edit(behalf, name, version, card("no"))
    assert await refused(press(ada, name, version, "yes")) == NO_SUCH_ACTION
    await press(ada, name, version, "no")


async def test_the_answer_comes_back_to_who_waits_and_the_card_is_edited(world: ChatWorld) -> None:
    ada, bot, name = await with_bot(world)
    version = await post(bot, name, card("yes"))
    pressing = asyncio.ensure_future(press(ada, name, version, "yes", wait=Duration(seconds=10)))
    (event,) = await actions(bot, 1)
    answered = await ask(bot, "AnswerAction", press_version=event.version, text="On its way", attributes={"eta": "30"})
    response = await pressing
    assert (response.answer.text, dict(response.answer.attributes)) == ("On its way", {"eta": "30"})
    assert [each.version for each in await actions(bot, 2)] == [event.version, answered.version]
    await edit(bot, name, version, card("cancel"))
    assert await refused(press(ada, name, version, "yes")) == NO_SUCH_ACTION
    await press(ada, name, version, "cancel")


async def test_a_press_that_was_taken_is_taken_also_when_the_card_changed(world: ChatWorld) -> None:
    ada, bot, name = await with_bot(world)
    version, intent = await post(bot, name, card("yes")), request_id()
    taken = await press(ada, name, version, "yes", request_id=intent)
    await edit(bot, name, version, card("no"))
    assert await press(ada, name, version, "yes", request_id=intent) == taken
    without_answer = await press(ada, name, version, "no", wait=Duration(nanos=50_000_000))
    assert not without_answer.HasField("answer")


async def test_a_bot_that_was_away_goes_on_where_it_was(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada, bot, name = await with_bot(world)
        version = await post(bot, name, card("yes"))
        for _ in range(3):
            await press(ada, name, version, "yes")
        assert [each.version for each in await actions(bot, 2)][:2] == [1, 2]
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada, bot = world.user("ada"), world.user("pizzabot", "service")
        await asyncio.gather(*(press(ada, name, version, "yes", values={"n": str(n)}) for n in range(20)))
        events = await actions(bot, 21, after=2)
        assert [each.version for each in events] == list(range(3, 24))
        assert {each.pressed.values["n"] for each in events[1:]} == {str(n) for n in range(20)}


async def test_processes_of_a_bot_share_the_conversations(world: ChatWorld) -> None:
    ada, bot, first = await with_bot(world)
    names = [first, *[(await ada.create_group("pizzabot")).conversation_id for _ in range(7)]]
    cards = [(name, await post(bot, name, card("yes"))) for name in names]
    for name, version in cards * 2:
        await press(ada, name, version, "yes")
    await ask(bot, "AnswerAction", press_version=1, text="yes")
    shares = [pb.ActionShare(index=index, count=3) for index in range(3)]
    found: list[list[pb.ActionEvent]] = []
    for share in shares:
        ours = [name for name in names if crc32(name.encode()) % 3 == share.index]
        found.append(await actions(bot, 2 * len(ours), share=share) if ours else [])
        assert {each.pressed.conversation_id for each in found[-1]} == set(ours)
        versions = [each.version for each in found[-1]]
        assert versions == sorted(versions)
        if ours:
            again = await actions(bot, 1, after=versions[-2], share=share)
            assert [each.version for each in again] == versions[-1:]
    assert sorted(each.version for part in found for each in part) == list(range(1, 17))
    stream = ask(bot, "WatchActions", share=pb.ActionShare(index=3, count=3))
    assert await refused(stream.read()) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_who_may_not_press(world: ChatWorld) -> None:
    ada, bot, name = await with_bot(world)
    version = await post(bot, name, card("yes"))
    links = await post(bot, name, card("open", url="https://tradewind.example"))
    said = await ada.send(name, "hi")
    assert await refused(press(world.user("eve"), name, version, "yes")) == NOT_FOUND
    assert await refused(press(world.user("ada", tenant="other"), name, version, "yes")) == NOT_FOUND
    chief = await refused(press(world.user("chief", "admin"), name, version, "yes"))
    assert chief == (grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")
    assert await refused(press(ada, name, version, "maybe")) == NO_SUCH_ACTION
    assert await refused(press(ada, name, links, "open")) == NO_SUCH_ACTION
    assert await refused(press(ada, name, said, "yes")) == NO_SUCH_ACTION
    for none in (1, 99, 1 << 60):
        assert await refused(press(ada, name, none, "yes")) == NO_SUCH_MESSAGE
    await bot.call(
        "DeleteMessage",
        chat.DeleteMessageRequest(request_id=request_id(), conversation_id=name, message_version=version),
    )
    assert await refused(press(ada, name, version, "yes")) == NO_SUCH_MESSAGE


async def test_a_channel_s_reader_may_press(world: ChatWorld) -> None:
    bot, rita = world.user("newsbot", "service"), world.user("rita")
    request = chat.CreateConversationRequest(
        request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL, member_ids=["newsbot"], open=True
    )
    name = (await bot.call("CreateConversation", request)).conversation.conversation_id
    version = await post(bot, name, card("more"))
    await rita.call("JoinConversation", chat.JoinConversationRequest(request_id=request_id(), conversation_id=name))
    await press(rita, name, version, "more")
    assert [each.actor_id for each in await actions(bot, 1)] == ["rita"]


async def test_only_services_post_what_is_pressed_and_it_is_not_forwarded(world: ChatWorld) -> None:
    ada, bot, name = await with_bot(world)
    assert await refused(post(ada, name, card("yes"))) == FORBIDDEN
    own = await post(ada, name, card("open", url="https://tradewind.example"))
    await edit(ada, name, own, card("shut", url="https://tradewind.example"))
    talk = ada.converse()
    tried = chat.SendMessageRequest(request_id=request_id(), conversation_id=name, content=card("yes"))
    await talk.write(tried)
    await talk.until(lambda talk: bool(talk.results))
    assert talk.results[tried.request_id].HasField("error")
    posted = await post(bot, name, card("yes"))
    forward = chat.ForwardMessageRequest(
        request_id=request_id(), conversation_id=name, from_conversation_id=name, message_version=posted
    )
    forwarded = (await ada.call("ForwardMessage", forward)).version
    assert await refused(press(ada, name, forwarded, "yes")) == NO_SUCH_ACTION


async def test_a_service_is_given_its_own_presses_of_its_tenant_alone(world: ChatWorld) -> None:
    ada, bot, name = await with_bot(world)
    version = await post(bot, name, card("yes"))
    taken = await press(ada, name, version, "yes")
    for other in (world.user("otherbot", "service"), world.user("pizzabot", "service", tenant="other")):
        stream = ask(other, "WatchActions")
        done, _ = await asyncio.wait([reading := asyncio.ensure_future(stream.read())], timeout=0.2)
        assert not done
        stream.cancel()
        await asyncio.wait([reading])
        answer = ask(other, "AnswerAction", press_version=taken.press_version, text="mine")
        assert await refused(answer) == NO_SUCH_ACTION
    for rpc, fields in {"AnswerAction": {"press_version": 1}}.items():
        assert await refused(ask(ada, rpc, **fields)) == FORBIDDEN
    stream = ask(ada, "WatchActions")
    assert await refused(stream.read()) == FORBIDDEN
    assert await refused(ask(bot, "AnswerAction", press_version=99)) == NO_SUCH_ACTION
