"""What is sent again has its first answer, however late: after a restart, when nothing is in memory or in the log any more, a day later."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.sdk import AlreadyExists, Client

from services.chat import commands
from services.ledger.clock import SYSTEM, Clock
from services.ledger.log import stream_name
from services.ledger.requests import RequestMemory
from tests.integration.chat_world import ChatWorld, User, chat_world, facts_in, refused, request_id
from tests.servers import NatsServer

LATER_US = 26 * 3600 * 1_000_000
REUSED = (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
Ask = Callable[[ChatWorld], Awaitable[Any]]


def at_once(clock: Clock) -> str:
    """A request id of a clock's present (UUIDv7, RFC 9562)."""
    return str(uuid.UUID(int=clock.wall_us() // 1000 << 80 | uuid.UUID(request_id()).int & (1 << 80) - 1))


def later(days: int) -> Clock:
    """Clocks that are so many times 26 hours ahead."""
    return Clock(wall_us=lambda: SYSTEM.wall_us() + days * LATER_US)


@dataclass
class Said:
    """What was asked, how to ask it otherwise, and what was answered."""

    ask: Ask
    otherwise: Ask
    answers: list[Any] = field(default_factory=list)


def unary(rpc: str, request: Any, change: Callable[[Any], object], by: str = "ada") -> Said:
    """A call."""
    other = type(request)()
    other.CopyFrom(request)
    change(other)
    return Said(lambda world: world.user(by).call(rpc, request), lambda world: refused(world.user(by).call(rpc, other)))


def streamed(request: pb.SendMessageRequest) -> Said:
    """A send over Converse."""
    other = pb.SendMessageRequest()
    other.CopyFrom(request)
    other.content.text += "!"

    async def ask(world: ChatWorld, said: pb.SendMessageRequest) -> pb.SendResult:
        talk = world.user("ada").converse()
        await talk.write(said)
        await talk.until(lambda talk: said.request_id in talk.results)
        talk.call.cancel()
        return talk.results[said.request_id]

    async def otherwise(world: ChatWorld) -> tuple[grpc.StatusCode, str]:
        error = (await ask(world, other)).error
        code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
        return code, facts_in(error)[0]

    return Said(lambda world: ask(world, request), otherwise)


def by_library(name: str, ident: str, *, session: bool, thread_root: int = 0) -> Said:
    """A send with the client library."""

    async def ask(world: ChatWorld, text: str) -> int:
        async with Client(f"127.0.0.1:{world.server.port}", token(world.user("ada"))) as client:
            if session:
                async with client.chat.converse() as stream:
                    return await stream.send(name, text, thread_root=thread_root, request_id=ident)
            return (await client.chat.send_message(name, text, thread_root=thread_root, request_id=ident)).version

    async def otherwise(world: ChatWorld) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(AlreadyExists) as error:
            await ask(world, "something else")
        return grpc.StatusCode.ALREADY_EXISTS, error.value.reason or ""

    return Said(lambda world: ask(world, "by the library"), otherwise)


def token(user: User) -> str:
    return str(user.metadata[0][1]).removeprefix("Bearer ")


async def everything(world: ChatWorld, clock: Clock) -> tuple[str, list[Said]]:
    """A group, and one of each kind of write."""
    ada = world.user("ada")
    name = (await ada.create_group("bob")).conversation_id
    root = await ada.send(name, "the first")

    def request(rpc: str, **fields: Any) -> Any:
        return getattr(pb, f"{rpc}Request")(request_id=at_once(clock), conversation_id=name, **fields)

    def says(text: str, **fields: Any) -> pb.SendMessageRequest:
        made: pb.SendMessageRequest = request("SendMessage", content=chat_pb2.MessageContent(text=text, **fields))
        return made

    def in_other_words(said: Any) -> None:
        said.content.text += "!"

    mentions = chat_pb2.Mentions(user_ids=["bob"])
    return name, [
        unary("SendMessage", says("plainly"), in_other_words),
        unary("SendMessage", says("in a thread", thread_root=root, mentions=mentions), in_other_words),
        streamed(says("over a stream")),
        streamed(says("over a stream, answering", reply_to=[root], thread_root=root)),
        by_library(name, at_once(clock), session=False),
        by_library(name, at_once(clock), session=True, thread_root=root),
        unary("EditMessage", request("EditMessage", message_version=root, content=chat_pb2.MessageContent(text="else")),
              in_other_words),
        unary("ForwardMessage", request("ForwardMessage", from_conversation_id=name, message_version=root),
              lambda said: setattr(said, "message_version", root + 1)),
        unary("AddMembers", request("AddMembers", user_ids=["cy"]), lambda said: said.user_ids.append("dee")),
        unary("UpdateConversation", request("UpdateConversation", title="Crew"), lambda said: setattr(said, "title", "C")),
    ]  # fmt: skip


async def version(world: ChatWorld, name: str) -> int:
    asked = pb.GetConversationRequest(conversation_id=name)
    return int((await world.user("ada").call("GetConversation", asked)).conversation.version)


async def all_again(world: ChatWorld, name: str, said: list[Said]) -> None:
    """Everything is asked again, as it was and otherwise; nothing comes of either."""
    before = await version(world, name)
    for each in said:
        assert await each.ask(world) == each.answers[0]
        assert await each.otherwise(world) == REUSED
    assert await version(world, name) == before


def forget(world: ChatWorld) -> None:
    """Let the process forget every request id, as it does where enough others came after them."""
    for resident in world.ledger._residents.values():
        memory = resident._memory
        newest = max([memory.horizon_ms, memory._young_newest_ms, memory._old_newest_ms])
        resident._memory = RequestMemory(newest)


async def age_out(world: ChatWorld) -> None:
    """Let the log lose all it holds, as it does when its time is over."""
    await world.client.jetstream().purge_stream(stream_name("chat", world.ledger.epoch))


async def test_whatever_is_sent_again_has_its_first_answer(
    each_chat_store: str, own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = own_nats_server.url
    async with chat_world(url, tmp_path) as world:
        name, said = await everything(world, SYSTEM)
        for each in said:
            each.answers.append(await each.ask(world))
        await all_again(world, name, said)
        forget(world)
        before = world.ledger.counters.look_ups
        await all_again(world, name, said)
        assert world.ledger.counters.look_ups > before
    async with chat_world(url, tmp_path) as world:
        await all_again(world, name, said)
        await age_out(world)
    for days in (1, 2):
        clock = later(days)
        monkeypatch.setattr(commands, "now_us", clock.wall_us)
        async with chat_world(url, tmp_path, clock=clock) as world:
            if days == 2:  # first the new, then the old, and the other way round
                assert await world.user("ada").send(name, "two days later") > 0
            await all_again(world, name, said)
            fresh = world.user("ada").message(name, "of today")
            fresh.request_id = at_once(clock)
            first = await world.user("ada").call("SendMessage", fresh)
            assert first.send_time.ToMicroseconds() > SYSTEM.wall_us() + LATER_US // 2
            forget(world)
            assert await world.user("ada").call("SendMessage", fresh) == first
            await all_again(world, name, said)
            await age_out(world)


async def test_an_intent_of_long_ago_is_taken_once_and_one_of_the_future_never(
    each_chat_store: str, own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada = world.user("ada")
        name = (await ada.create_group("bob")).conversation_id
        await ada.send(name, "meanwhile")
        late, early = ada.message(name, "written offline"), ada.message(name, "from the future")
        late.request_id, early.request_id = at_once(later(-30)), at_once(later(2))
        first = await ada.call("SendMessage", late)
        assert (await streamed(late).ask(world)).version == first.version
        assert await ada.call("SendMessage", late) == first
        assert await refused(ada.call("SendMessage", early)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert await version(world, name) == first.version
