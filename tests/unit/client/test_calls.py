import asyncio
import time

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span
from tradewind import sdk
from tradewind.sdk import (
    AlreadyExists,
    Client,
    ClientClosed,
    DeadlineExceeded,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)

from tests.unit.client.harbour import Harbour, status

DOWN = status(grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE")


async def test_what_is_unavailable_is_tried_again_under_the_same_request_id(port: Harbour) -> None:
    port.chat.faults.unary = [DOWN, status(grpc.StatusCode.ABORTED, "CONTENTION"), DOWN]
    async with port.client() as client:
        conversation = await client.chat.create_group(["ann"], title="Lunch")
    assert conversation.title == "Lunch"
    assert len(port.chat.requests) == 4
    assert len(set(port.chat.requests)) == 1


async def test_a_wait_the_server_asks_for_is_kept(port: Harbour) -> None:
    port.chat.faults.unary = [status(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_after=0.3)]
    began = time.monotonic()
    async with port.client() as client:
        await client.chat.create_group(["ann"])
    assert time.monotonic() - began >= 0.3


async def test_a_wait_longer_than_the_deadline_is_not_waited_for(port: Harbour) -> None:
    port.chat.faults.unary = [status(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_after=60)]
    async with port.client() as client:
        with pytest.raises(RateLimited) as caught:
            await client.chat.create_group(["ann"], timeout=1.0)
    assert caught.value.retry_after == 60
    assert caught.value.reason == "RATE_LIMITED"


async def test_what_is_refused_is_not_tried_again(port: Harbour) -> None:
    port.chat.faults.unary = [status(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")]
    async with port.client() as client:
        with pytest.raises(AlreadyExists) as caught:
            await client.chat.create_group(["ann"])
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert caught.value.metadata == {"why": "test"}
    assert len(port.chat.requests) == 1


async def test_errors_have_their_own_class(port: Harbour) -> None:
    async with port.client() as client:
        with pytest.raises(NotFound):
            await client.chat.get_conversation("nowhere")


async def test_nobody_there_is_unavailable_within_the_deadline() -> None:
    async with Client("127.0.0.1:1", "token", timeout=0.5) as client:
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await client.chat.get_conversation("nowhere")


async def test_a_token_provider_is_asked_once_more_when_its_token_is_refused(port: Harbour) -> None:
    tokens = iter(["old", "new"])

    async def provide() -> str:
        await asyncio.sleep(0)
        return next(tokens)

    port.chat.faults.unary = [status(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")]
    async with port.client(provide) as client:
        await client.chat.create_group(["ann"])
    assert [seen["authorization"] for seen in port.chat.metadata] == ["Bearer old", "Bearer new"]


async def test_a_refused_token_is_final_where_there_is_no_other(port: Harbour) -> None:
    port.chat.faults.unary = [status(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")]
    async with port.client() as client:
        with pytest.raises(Unauthenticated):
            await client.chat.create_group(["ann"])


async def test_the_current_trace_travels_along(port: Harbour) -> None:
    span = TracerProvider().get_tracer("test").start_span("test")
    async with port.client() as client:
        with use_span(span):
            await client.chat.create_group(["ann"])
        await client.chat.create_group(["ann"])
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert trace_id in str(port.chat.metadata[0]["traceparent"])
    assert "traceparent" not in port.chat.metadata[1]


def test_everything_exported_is_there_and_sorted() -> None:
    assert sorted(sdk.__all__) == sdk.__all__
    assert all(hasattr(sdk, name) for name in sdk.__all__)


def test_the_tree_of_errors_is_the_one_drawn() -> None:
    drawn = {
        sdk.Refused: sdk.TradewindError,
        sdk.InvalidArgument: sdk.Refused,
        sdk.Transient: sdk.TradewindError,
        sdk.Unavailable: sdk.Transient,
        sdk.DeadlineExceeded: sdk.TradewindError,
        sdk.VersionGap: sdk.StreamFault,
    }
    assert {child: child.__base__ for child in drawn} == drawn


async def test_whoever_listens_or_asks_is_told_that_the_client_was_closed(port: Harbour) -> None:
    """And is not taken for cancelled, which nobody did."""
    client = port.client()
    made = await client.chat.create_group(["ann"])
    heard = asyncio.Event()

    async def listen() -> None:
        async for _ in client.chat.watch(made.conversation_id):
            heard.set()

    async def talk() -> None:
        async with client.chat.converse() as session:
            session.subscribe(made.conversation_id)
            async for _ in session:
                pass

    tasks = [asyncio.create_task(listen()), asyncio.create_task(talk())]
    await asyncio.wait_for(heard.wait(), 30)
    await client.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
    assert [type(each) for each in outcomes] == [ClientClosed, ClientClosed]
    with pytest.raises(ClientClosed):
        await client.chat.get_conversation(made.conversation_id)
    with pytest.raises(ClientClosed):
        await anext(client.chat.watch(made.conversation_id))
