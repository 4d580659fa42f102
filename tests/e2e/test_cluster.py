"""Many processes are one service: whatever is killed, held, added or drained, calls and streams go on through Envoy."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from itertools import pairwise

import aiohttp
import nats
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from tradewind.chat.v1 import chat_service_pb2
from tradewind.sdk import Client, new_request_id

from services.standalone.cluster.cluster import Cluster
from services.standalone.ports import HOST
from tests.e2e.cluster_world import Beat, People, calls, calls_by_port, counters, running

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no Envoy for Windows"),
]

RECOVERED = 15.0
"""Seconds without an answer, at most, when a process ends; here and below three times what an idle machine takes."""
NOTICED = 24.0
"""The same when it hangs: Envoy waits three for a sign of life."""
ELECTED = 45.0
"""The same when the log's leader crashes: nats-server waits 4 to 9 for its heartbeat before another is elected."""
SERVICES = ("chat", "order", "mail")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A cluster that all tests here share; each leaves it whole."""
    async with running(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def admin(cluster: Cluster) -> AsyncIterator[Client]:
    """Somebody who may do everything."""
    async with People(cluster).client("admin") as client:
        yield client


async def conversation(admin: Client) -> str:
    return (await admin.chat.create_group(["customer"])).conversation_id


class Listener:
    """Hears a conversation for as long as it is used; versions are seen to be dense by the client."""

    def __init__(self, client: Client, conversation_id: str) -> None:
        self.moments: list[float] = []
        self._events = client.chat.watch(conversation_id)
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for _event in self._events:
            self.moments.append(time.monotonic())

    def longest_gap(self, since: float) -> float:
        """Seconds in which nothing was heard, at most."""
        moments = [since, *(moment for moment in self.moments if moment > since), time.monotonic()]
        return max(later - earlier for earlier, later in pairwise(moments))

    async def close(self) -> None:
        """Hear no more; a gap in the versions would have ended it before."""
        assert not self._task.done(), self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_calls_are_balanced_over_all_processes(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    ports = [child.ports["grpc"] for child in cluster.processes("chat")]
    shares: list[int] = []
    async with asyncio.timeout(60):
        while min(shares, default=0) < 10:  # a process that has only just come gets none of the first calls
            before = await calls_by_port(cluster, "chat")
            await asyncio.gather(*(admin.chat.send_message(where, f"line {number}") for number in range(60)))
            after = await calls_by_port(cluster, "chat")
            shares = [after[port] - before.get(port, 0) for port in ports]


async def test_every_stream_and_every_durable_has_three_copies(cluster: Cluster) -> None:
    client = await nats.connect(cluster.nats_urls)
    try:
        js = client.jetstream()
        streams = await js.streams_info()
        assert {info.config.name: info.config.num_replicas for info in streams if info.config.num_replicas != 3} == {}
        for info in streams:
            for consumer in await js.consumers_info(info.config.name or ""):
                if consumer.config.durable_name:
                    # None of its own: as many as the stream has.
                    assert consumer.config.num_replicas in (0, 3), consumer.name
    finally:
        await client.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_killed_process_is_not_missed(cluster: Cluster, admin: Client, service: str) -> None:
    where = await conversation(admin)
    listener = Listener(admin, where)
    victim = random.choice(cluster.processes(service))
    async with Beat(calls(service, admin, where)) as beat, Beat(calls("chat", admin, where)) as chat:
        begun = time.monotonic()
        await victim.kill()
        await beat.succeeds(40)
        await victim.wait_ready()
        assert beat.longest_gap(begun) < RECOVERED
        assert listener.longest_gap(begun) < RECOVERED
    assert beat.errors == chat.errors == []
    await listener.close()
    await cluster.balanced()


async def test_a_process_that_ends_in_order_hands_its_calls_and_streams_over(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    listener = Listener(admin, where)
    victim = cluster.child("chat-1")
    async with Beat(calls("chat", admin, where)) as beat:
        begun = time.monotonic()
        await victim.stop()
        await beat.succeeds(20)
        assert beat.longest_gap(begun) < RECOVERED
        assert listener.longest_gap(begun) < RECOVERED
        assert victim.pid is None
        await victim.start()
        await victim.wait_ready()
        await cluster.balanced()
    assert beat.errors == []
    await listener.close()


async def test_a_process_that_hangs_loses_its_calls_and_streams_to_another(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    listeners = [Listener(admin, where) for _ in range(4)]
    victim = cluster.child("chat-2")
    async with Beat(calls("chat", admin, where)) as beat:
        begun = time.monotonic()
        victim.pause()
        try:
            await beat.succeeds(60)
            async with asyncio.timeout(2 * NOTICED):
                while not all(listener.moments and listener.moments[-1] > begun + 1 for listener in listeners):
                    await beat.succeeds()
            assert beat.longest_gap(begun) < NOTICED
            assert max(listener.longest_gap(begun) for listener in listeners) < NOTICED
        finally:
            victim.resume()
    assert beat.errors == []
    for listener in listeners:
        await listener.close()
    await cluster.balanced()


async def test_envoy_itself_comes_back(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    listener = Listener(admin, where)
    async with Beat(calls("chat", admin, where)) as beat:
        begun = time.monotonic()
        await cluster.child("envoy").kill()
        await beat.succeeds(20)
        assert beat.longest_gap(begun) < RECOVERED
        assert listener.longest_gap(begun) < RECOVERED
    assert beat.errors == []
    await listener.close()
    await cluster.balanced()


async def leader_of(cluster: Cluster, stream: str) -> str:
    """The server that leads a stream, which is named by how its name begins."""
    client = await nats.connect(cluster.nats_urls)
    try:
        found = [
            info for info in await client.jetstream().streams_info() if (info.config.name or "").startswith(stream)
        ]
        assert found[0].cluster is not None
        return found[0].cluster.leader or ""
    finally:
        await client.close()


async def test_the_log_goes_on_without_its_leader(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    listener = Listener(admin, where)
    victim = cluster.child(await leader_of(cluster, "ledger-chat-"))
    async with Beat(calls("chat", admin, where)) as beat:
        begun = time.monotonic()
        await victim.kill(restart=False)
        await beat.succeeds(20)
        assert beat.longest_gap(begun) < ELECTED
        assert listener.longest_gap(begun) < ELECTED
        await victim.start()
        await victim.wait_ready()
    assert beat.errors == []
    await listener.close()


async def test_a_leader_that_ends_in_order_hands_the_log_over_at_once(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    victim = cluster.child(await leader_of(cluster, "ledger-chat-"))
    async with Beat(calls("chat", admin, where)) as beat:
        begun = time.monotonic()
        await victim.stop()
        await beat.succeeds(20)
        assert beat.longest_gap(begun) < RECOVERED
        await victim.start()
        await victim.wait_ready()
    assert beat.errors == []


async def test_a_process_more_gets_its_share(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    added = await cluster.add("chat")
    async with Beat(calls("chat", admin, where)) as beat, asyncio.timeout(60):
        while (await calls_by_port(cluster, "chat")).get(added.ports["grpc"], 0) < 10:
            await beat.succeeds(10)
    assert beat.errors == []


async def test_an_idle_stream_is_left_alone(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    listener = Listener(admin, where)
    while not listener.moments:
        await asyncio.sleep(0.01)
    closed = await counters(cluster, r"^cluster\.chat\.upstream_cx_destroy_(local|remote)_with_active_rq:")
    # So long that several signs of life are asked for; more than a server takes before it hangs up on who asks too often.
    await asyncio.sleep(4.5)
    assert await counters(cluster, r"^cluster\.chat\.upstream_cx_destroy_(local|remote)_with_active_rq:") == closed
    await listener.close()


async def test_a_browser_is_served(cluster: Cluster) -> None:
    url = f"http://{HOST}:{cluster.ports.chat}/grpc.health.v1.Health/Check"
    request = health_pb2.HealthCheckRequest(service="tradewind.chat.v1.ChatService").SerializeToString()
    origin = {"Origin": "http://localhost:3000"}
    async with aiohttp.ClientSession() as session:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-grpc-web"}
        async with session.options(url, headers={**origin, **asks}) as preflight:
            assert preflight.headers["access-control-allow-origin"] == origin["Origin"]
        frame = b"\0" + len(request).to_bytes(4, "big") + request
        headers = {**origin, "Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"}
        async with session.post(url, data=frame, headers=headers) as answer:
            assert answer.status == 200
            body = await answer.read()
        async with session.options(url, headers={"Origin": "http://elsewhere.example", **asks}) as refused:
            assert "access-control-allow-origin" not in refused.headers
    length = int.from_bytes(body[1:5], "big")
    assert (
        health_pb2.HealthCheckResponse.FromString(body[5 : 5 + length]).status == health_pb2.HealthCheckResponse.SERVING
    )
    assert b"grpc-status:0" in body[5 + length :]


class Page:
    """A page of a browser, which speaks gRPC-Web: HTTP/1.1, a frame's flag and length before each message, trailers as the last one."""

    def __init__(self, cluster: Cluster, token: str) -> None:
        self._url = f"http://{HOST}:{cluster.ports.chat}/tradewind.chat.v1.ChatService/"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/grpc-web+proto",
            "Origin": "http://localhost:3000",
            "X-Grpc-Web": "1",
        }

    async def messages(
        self, session: aiohttp.ClientSession, method: str, request: Message
    ) -> AsyncGenerator[bytes, None]:
        """The messages of an answer, as they come; asserts that it ended well, where it ends."""
        data = request.SerializeToString()
        frame = b"\0" + len(data).to_bytes(4, "big") + data
        async with session.post(self._url + method, data=frame, headers=self._headers) as answer:
            assert answer.status == 200
            while True:
                head = await answer.content.readexactly(5)
                body = await answer.content.readexactly(int.from_bytes(head[1:], "big"))
                if head[0] & 0x80:
                    assert b"grpc-status:0" in body, body
                    return
                yield body


async def test_a_browser_talks_listens_and_resumes_without_a_gap(cluster: Cluster, admin: Client) -> None:
    where, page = await conversation(admin), Page(cluster, People(cluster).token("customer"))

    async def said(session: aiohttp.ClientSession, text: str) -> int:
        request = chat_service_pb2.SendMessageRequest(request_id=new_request_id(), conversation_id=where)
        request.content.text = text
        (answer,) = [body async for body in page.messages(session, "SendMessage", request)]
        return chat_service_pb2.SendMessageResponse.FromString(answer).version

    async def heard(session: aiohttp.ClientSession, after: int, until: int) -> list[int]:
        request = chat_service_pb2.WatchRequest(conversation_id=where, after_version=after)
        versions: list[int] = []
        async with aclosing(page.messages(session, "Watch", request)) as bodies:
            async for body in bodies:
                versions += [event.version for event in chat_service_pb2.WatchResponse.FromString(body).events]
                if versions[-1:] >= [until]:
                    break
        return versions

    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        live = asyncio.create_task(heard(session, 0, 4))
        assert [await said(session, f"line {number}") for number in range(3)] == [2, 3, 4]
        assert await live == [1, 2, 3, 4]
        await admin.chat.send_message(where, "while the page was closed")
        assert await heard(session, 4, 5) == [5]


async def test_what_one_process_wrote_every_process_shows(cluster: Cluster, admin: Client) -> None:
    where = await conversation(admin)
    await admin.chat.send_message(where, "seen by all")
    for _ in range(8):
        shown = [message.content.text async for message in admin.chat.list_messages(where)]
        assert "seen by all" in shown
