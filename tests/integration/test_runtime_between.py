"""A call between services carries who asks, for whom, in which trace and until when."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from services.runtime.call import Call
from services.runtime.channel import NoTenant, acting, service_channel
from tests.integration.runtime_world import Handlers, World, refusal, serve, settings_in
from tests.unit.runtime.trial import parcel, parse


def say(channel: grpc.aio.Channel) -> Any:
    return channel.unary_unary("/trial.v1.TrialService/Say", lambda message: message.SerializeToString(), parse)


class Forwarder(Handlers):
    """A service whose answer is another service's."""

    channel: grpc.aio.Channel

    async def Say(self, request: Any, call: Call) -> Message:
        self.calls.append(call)
        answer: Message = await say(self.channel)(request)
        return answer


@pytest.fixture
async def back(tmp_path: Path) -> AsyncIterator[World]:
    world = await serve(settings_in(tmp_path, trace_dir=tmp_path / "traces", trace_ratio=0.0))
    yield world
    await world.channel.close()
    await world.server.drain()


@pytest.fixture
async def front(tmp_path: Path, back: World) -> AsyncIterator[World]:
    world = await serve(settings_in(tmp_path, trace_dir=tmp_path / "traces", trace_ratio=0.0), Forwarder())
    async with service_channel(world.settings, f"127.0.0.1:{back.server.port}", "order") as channel:
        world.handlers.channel = channel
        yield world
    await world.channel.close()
    await world.server.drain()


async def test_the_served_call_s_user_and_deadline_go_along(front: World, back: World) -> None:
    assert (await front.say("hello", timeout=3)).label == "hello"
    caller = back.handlers.calls[0].caller
    assert (caller.tenant, caller.subject, caller.on_behalf_of) == ("acme", "order", "ann")
    assert caller.roles == {"service"}
    assert back.handlers.calls[0].remaining() < 3.5


async def test_one_trace_goes_through_both(front: World, back: World, tmp_path: Path) -> None:
    sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await front.say("hello", metadata=(*front.header(), ("traceparent", sampled)))
    await front.say("hello", metadata=(*front.header(), ("traceparent", sampled[:-1] + "0")))
    await front.say("hello")
    assert back.handlers.calls[0].traceparent.startswith(sampled[:35])
    assert [call.traceparent for call in back.handlers.calls[1:]] == [None, None]
    await front.server.drain()
    await back.server.drain()
    lines = [json.loads(line) for file in (tmp_path / "traces").iterdir() for line in file.read_text().splitlines()]
    by_parent = {line["parent_id"]: line for line in lines}
    assert len(lines) == 2
    first = by_parent["b7ad6b7169203331"]
    second = by_parent[first["span_id"]]
    assert first["trace_id"] == second["trace_id"] == sampled[3:35]
    assert first["attributes"]["rpc.method"] == "Say"
    assert (second["kind"], second["attributes"]["tradewind.tenant"]) == ("server", "acme")


async def test_outside_of_calls_one_says_for_whom(front: World, back: World) -> None:
    call = say(front.handlers.channel)
    with pytest.raises(NoTenant):
        call(parcel("hello"))
    with acting("acme"):
        await call(parcel("hello"))
    with acting("other", "bob"):
        await call(parcel("hello"), timeout=2)
    callers = [known.caller for known in back.handlers.calls]
    assert [(caller.tenant, caller.subject, caller.on_behalf_of) for caller in callers] == [
        ("acme", "order", None),
        ("other", "order", "bob"),
    ]
    assert back.handlers.calls[0].remaining() < 10.5
    assert back.handlers.calls[1].remaining() < 2.5


async def test_streams_between_services_have_no_deadline_of_their_own(front: World, back: World) -> None:
    channel = front.handlers.channel
    stream = channel.stream_stream("/trial.v1.TrialService/Talk", lambda message: message.SerializeToString(), parse)
    with acting("acme", "ann"):
        talk = stream()
    await talk.write(parcel("one"))
    assert (await talk.read()).label == "one"
    await talk.done_writing()
    assert back.handlers.calls[0].remaining() == float("inf")


async def test_a_service_that_is_gone_is_said_and_not_its_words(front: World, back: World) -> None:
    await back.server.drain()
    code, reason, status = await refusal(front.say("hello"))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert "127.0.0.1" not in status.message
