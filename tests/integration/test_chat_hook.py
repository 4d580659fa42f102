"""A tenant's own look at messages: a real gRPC server that Chat asks, also one that is slow, down, or talks nonsense."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tradewind.chat.v1 import chat_pb2, chat_service_pb2_grpc, message_hook_service_pb2_grpc, schedule_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import message_hook_service_pb2 as pb
from tradewind.chat.v1 import schedule_service_pb2 as schedule

from services.chat.moderation.hook_settings import MessageHook
from services.hook_simulator.service import WordHook, serve
from tests.integration.chat_world import (
    TENANT,
    ChatWorld,
    User,
    chat_world,
    reason_in,
    reason_of,
    refused,
    request_id,
    watched,
)
from tests.integration.test_runtime_tls import issue
from tests.servers import NatsServer

MESSAGE_REFUSED = (grpc.StatusCode.PERMISSION_DENIED, "MESSAGE_REFUSED")
SEEN = pb.ReviewMessageResponse(change=pb.ChangeMessage(text="seen"))
NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


class Odd(WordHook):
    """Answers whatever it is told to."""

    def __init__(self, answer: Callable[[pb.ReviewMessageRequest], Any]) -> None:
        super().__init__()
        self.answer = answer

    async def ReviewMessage(self, request: pb.ReviewMessageRequest, context: Any) -> Any:
        self.asked.append(request)
        found = self.answer(request)
        if isinstance(found, grpc.StatusCode):
            await context.abort(found, "no")
        return await found if asyncio.iscoroutine(found) else found


@asynccontextmanager
async def hooked(
    nats: NatsServer, folder: Path, hook: WordHook, listen: str = "127.0.0.1:0", **settings: Any
) -> AsyncIterator[ChatWorld]:
    """Run Chat with a hook of its tenant."""
    async with AsyncExitStack() as stack:
        server, port = await serve(hook, listen)
        stack.push_async_callback(server.stop, None)
        chosen = MessageHook(target=f"127.0.0.1:{port}", **{"timeout": 10.0, **settings})
        yield await stack.enter_async_context(chat_world(nats.url, folder, message_hooks={TENANT: chosen}))


async def texts(user: User, name: str) -> list[str]:
    listed = await user.call(
        "ListMessages", chat.ListMessagesRequest(conversation_id=name, oldest_first=True, page_size=200)
    )
    return [message.content.text for message in listed.messages]


def edit(user: User, name: str, version: int, text: str) -> Any:
    content = chat_pb2.MessageContent(text=text)
    return user.call(
        "EditMessage",
        chat.EditMessageRequest(
            request_id=request_id(), conversation_id=name, message_version=version, content=content
        ),
    )


async def test_words_are_refused_and_replaced_wherever_they_are_said(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    hook = WordHook(refused=["spam"], masked=["darn"], token="s3cret")
    async with hooked(own_nats_server, tmp_path, hook, token_file=secret) as world:
        ada, bob = world.user("ada"), world.user("bob")
        name = (await ada.create_group("bob")).conversation_id
        said = await ada.send(name, "hello")
        await ada.send(name, "Darn it")
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await ada.send(name, "buy spam")
        assert (told.value.code(), reason_of(told.value)) == MESSAGE_REFUSED
        assert told.value.details() == "This word is not welcome here."
        assert await refused(edit(ada, name, said, "spam!")) == MESSAGE_REFUSED
        await edit(ada, name, said, "hello, darn")
        other = (await ada.create_group()).conversation_id
        forward = chat.ForwardMessageRequest(
            request_id=request_id(), conversation_id=other, from_conversation_id=name, message_version=said
        )
        await ada.call("ForwardMessage", forward)
        assert await texts(bob, name) == ["hello, ****", "**** it"]
        assert await texts(ada, other) == ["hello, ****"]
        assert [(each.occasion, each.sender_id, each.conversation_id) for each in hook.asked][-1] == (
            pb.MESSAGE_OCCASION_FORWARD, "ada", other,
        )  # fmt: skip
        eve = world.user("eve", tenant="other")
        elsewhere = (await eve.create_group()).conversation_id
        await eve.send(elsewhere, "spam")  # another tenant asks nobody


async def test_a_stream_s_messages_keep_their_order(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async def slowly(request: pb.ReviewMessageRequest) -> pb.ReviewMessageResponse:
        number = int(request.content.text)
        await asyncio.sleep(0.02 if number % 5 == 0 else 0)
        if number % 7 == 3:
            return pb.ReviewMessageResponse(refuse=pb.RefuseMessage())
        return pb.ReviewMessageResponse(change=pb.ChangeMessage(text=f"<{number}>"))

    async with hooked(own_nats_server, tmp_path, Odd(slowly)) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        talk = ada.converse()
        sends = [ada.message(name, str(number)) for number in range(60)]
        await talk.write(*sends[:30])
        await talk.write(*sends[30:])
        await talk.until(lambda talk: len(talk.results) == 60)
        refusals = [talk.results[send.request_id] for number, send in enumerate(sends) if number % 7 == 3]
        assert {reason_in(result.error) for result in refusals} == {"MESSAGE_REFUSED"}
        assert await texts(ada, name) == [f"<{number}>" for number in range(60) if number % 7 != 3]


async def test_a_repeated_send_has_the_first_outcome_whatever_the_hook_says_then(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    answers = iter(
        [
            pb.ReviewMessageResponse(change=pb.ChangeMessage(text="first")),
            pb.ReviewMessageResponse(change=pb.ChangeMessage(text="second")),
            pb.ReviewMessageResponse(refuse=pb.RefuseMessage(reason="no")),
            grpc.StatusCode.INTERNAL,
        ]
    )
    async with hooked(own_nats_server, tmp_path, Odd(lambda _: next(answers))) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        request = ada.message(name, "said")
        answered = [await ada.call("SendMessage", request) for _ in range(4)]
        assert [each.version for each in answered] == [answered[0].version] * 4
        assert await texts(ada, name) == ["first"]


async def test_who_may_not_say_it_at_all_is_told_that(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with hooked(own_nats_server, tmp_path, WordHook(refused=["spam"])) as world:
        ada, eve = world.user("ada"), world.user("eve")
        name = (await ada.create_group()).conversation_id
        assert await refused(eve.send(name, "spam")) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


GARBAGE: dict[str, Callable[[pb.ReviewMessageRequest], Any]] = {
    "nothing": lambda _: pb.ReviewMessageResponse(),
    "too long a reason": lambda _: pb.ReviewMessageResponse(refuse=pb.RefuseMessage(reason="x" * 257)),
    "an empty text": lambda _: pb.ReviewMessageResponse(change=pb.ChangeMessage()),
    "too long a text": lambda _: pb.ReviewMessageResponse(change=pb.ChangeMessage(text="x" * 16_385)),
    "too long an answer": lambda _: pb.ReviewMessageResponse(change=pb.ChangeMessage(text="x" * 100_000)),
    "a failure": lambda _: grpc.StatusCode.INTERNAL,
    "too late": lambda _: asyncio.sleep(30, pb.ReviewMessageResponse(accept=pb.AcceptMessage())),
}


async def test_what_is_no_answer_is_dealt_with_as_the_settings_say(own_nats_server: NatsServer, tmp_path: Path) -> None:
    hook = Odd(GARBAGE["nothing"])
    for when_down in ("refuse", "accept"):
        options: dict[str, Any] = {"when_down": when_down, "timeout": 0.2, "failures": 100}
        async with hooked(own_nats_server, tmp_path, hook, **options) as world:
            ada = world.user("ada")
            name = (await ada.create_group()).conversation_id
            for answer in GARBAGE.values():
                hook.answer = answer
                if when_down == "accept":
                    await ada.send(name, "hi")
                else:
                    assert await refused(ada.send(name, "hi")) == NO_ANSWER
            assert await texts(ada, name) == (["hi"] * len(GARBAGE) if when_down == "accept" else [])


async def test_a_hook_that_fails_is_left_alone_for_a_while_and_asked_again(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    hook = Odd(GARBAGE["a failure"])
    async with hooked(own_nats_server, tmp_path, hook, failures=3, pause=300) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        for _ in range(10):
            assert await refused(ada.send(name, "hi")) == NO_ANSWER
        assert len(hook.asked) == 3
    async with hooked(own_nats_server, tmp_path, hook, failures=1, pause=0.05) as world:
        ada = world.user("ada")
        assert await refused(ada.send(name, "hi")) == NO_ANSWER
        hook.answer = lambda _: pb.ReviewMessageResponse(accept=pb.AcceptMessage())
        await until_taken(ada, ada.message(name, "hi"))
        assert await texts(ada, name) == ["hi"]


async def test_who_leaves_the_hook_no_time_gets_nothing_past_it(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async def slowly(_: pb.ReviewMessageRequest) -> pb.ReviewMessageResponse:
        await asyncio.sleep(0.3)
        return SEEN

    options: dict[str, Any] = {"when_down": "accept", "failures": 1, "pause": 300}
    async with hooked(own_nats_server, tmp_path, Odd(slowly), **options) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        stub = chat_service_pb2_grpc.ChatServiceStub(ada.channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.SendMessage(ada.message(name, "hi"), metadata=ada.metadata, timeout=0.1)
        await ada.send(name, "hi")
        assert set(await texts(ada, name)) == {"seen"}


async def test_who_brings_more_than_the_hook_may_be_asked_gets_nothing_past_it(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    hook = Odd(GARBAGE["too late"])
    options: dict[str, Any] = {"when_down": "accept", "failures": 2, "pause": 300, "in_flight": 1, "timeout": 3.0}
    async with hooked(own_nats_server, tmp_path, hook, **options) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        talk = ada.converse()
        sends = [ada.message(name, "unseen") for _ in range(6)]
        await talk.write(*sends)
        await talk.until(lambda talk: len(talk.results) == len(sends))
        refusals = [result.error for result in talk.results.values() if result.HasField("error")]
        assert [reason_in(error) for error in refusals] == ["DEPENDENCY_UNAVAILABLE"] * 5
        hook.answer = lambda _: SEEN
        await ada.send(name, "hi")
        assert await texts(ada, name) == ["unseen", "seen"]  # the hook was late for one, which is not often enough


async def until_taken(user: User, request: chat.SendMessageRequest) -> None:
    """Repeat a send until the hook is asked again."""
    async with asyncio.timeout(60):
        while True:
            try:
                await user.call("SendMessage", request)
                return
            except grpc.aio.AioRpcError as error:
                assert reason_of(error) == "DEPENDENCY_UNAVAILABLE"
                await asyncio.sleep(0.05)


async def test_a_hook_that_is_down_is_asked_again_when_it_is_back(own_nats_server: NatsServer, tmp_path: Path) -> None:
    accepting = Odd(lambda _: pb.ReviewMessageResponse(accept=pb.AcceptMessage()))
    # Bound and not listened on, a port is nobody else's while the hook is away (SO_REUSEPORT, as grpc binds).
    with socket.socket() as holding:
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holding.bind(("127.0.0.1", 0))
        await goes_and_comes(own_nats_server, tmp_path, accepting, holding.getsockname()[1])


async def goes_and_comes(nats: NatsServer, folder: Path, accepting: WordHook, port: int) -> None:
    server, _ = await serve(accepting, f"127.0.0.1:{port}")
    hooks = {TENANT: MessageHook(target=f"127.0.0.1:{port}", timeout=10.0, failures=2, pause=0.1)}
    async with chat_world(nats.url, folder, message_hooks=hooks) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        await ada.send(name, "one")
        await server.stop(None)
        sent = ada.message(name, "two")
        assert await refused(ada.call("SendMessage", sent)) == NO_ANSWER
        server, _ = await serve(accepting, f"127.0.0.1:{port}")
        await until_taken(ada, sent)
        assert await texts(ada, name) == ["one", "two"]
    await server.stop(None)


async def test_a_scheduled_message_is_looked_at_when_its_time_has_come(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    hook = WordHook(masked=["darn"])
    async with hooked(own_nats_server, tmp_path, hook) as world:
        ada = world.user("ada")
        name = (await ada.create_group()).conversation_id
        request = schedule.ScheduleMessageRequest(
            request_id=request_id(), conversation_id=name, content=chat_pb2.MessageContent(text="darn")
        )
        request.send_time.FromMilliseconds(int(time.time() * 1000) + 3_000)
        await schedule_service_pb2_grpc.ScheduleServiceStub(ada.channel).ScheduleMessage(request, metadata=ada.metadata)
        (event,) = await watched(ada.watch(name, 1), 1)
        assert event.message.text == "****"
        # Once, and not when it was scheduled: its words and the tenant's rules are those of the moment in which it is said.
        assert [each.occasion for each in hook.asked] == [pb.MESSAGE_OCCASION_SCHEDULED]


async def test_a_hook_is_asked_over_tls_and_trusted_by_its_certificate(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    authority, stranger = issue(tmp_path, "authority"), issue(tmp_path, "stranger")
    shown = issue(tmp_path, "hook", authority)
    server = grpc.aio.server()
    message_hook_service_pb2_grpc.add_MessageHookServiceServicer_to_server(WordHook(masked=["darn"]), server)
    pair = (shown.key.read_bytes(), shown.cert.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    for trusted in (authority, stranger):
        settings = MessageHook(target=f"127.0.0.1:{port}", ca_file=trusted.cert, timeout=5.0)
        async with chat_world(own_nats_server.url, tmp_path, message_hooks={TENANT: settings}) as world:
            ada = world.user("ada")
            name = (await ada.create_group()).conversation_id
            if trusted is authority:
                await ada.send(name, "darn")
                assert await texts(ada, name) == ["****"]
            else:
                assert await refused(ada.send(name, "darn")) == NO_ANSWER
    await server.stop(None)
