"""A cluster in this process, and a beat of calls that shows for how long nothing got through."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from tradewind.mail.v1 import mail_pb2, mail_service_pb2
from tradewind.sdk import Client, TradewindError, new_request_id

from services.standalone.cluster.cluster import Cluster
from services.standalone.cluster.http import ask
from services.standalone.cluster.ports import COUNT
from services.standalone.journey.people import Credentials
from services.standalone.ports import PortTaken
from tests.ports import free_ports

CALLERS = 3
EVERY = 0.05
_TRIES = 20


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Cluster]:
    """A cluster on SQLite files, on ports that nobody uses."""
    for number in range(_TRIES):
        port = free_ports(COUNT)
        try:
            async with Cluster(folder / str(number), port=port, store="sqlite") as cluster:
                yield cluster
                return
        except PortTaken:
            continue
    raise AssertionError("no ports are free")


class Beat:
    """Callers that call again and again."""

    def __init__(self, call: Callable[[], Awaitable[object]]) -> None:
        self._call = call
        self._tasks: list[asyncio.Task[None]] = []
        self._succeeded = asyncio.Event()
        self.ends: list[float] = []
        self.errors: list[TradewindError] = []

    async def __aenter__(self) -> "Beat":
        self._tasks = [asyncio.create_task(self._run()) for _ in range(CALLERS)]
        await self.succeeds()
        return self

    async def __aexit__(self, *_error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def succeeds(self, times: int = 1, seconds: float = 120.0) -> None:
        """Wait for so many calls to succeed from now on."""
        async with asyncio.timeout(seconds):
            for _ in range(times):
                self._succeeded.clear()
                await self._succeeded.wait()

    def longest_gap(self, since: float) -> float:
        """Seconds in which no call succeeded, at most, from a moment of the monotonic clock until now."""
        moments = [since, *(end for end in self.ends if end > since), time.monotonic()]
        return max(later - earlier for earlier, later in pairwise(moments))

    async def _run(self) -> None:
        while True:
            try:
                await self._call()
            except TradewindError as error:
                self.errors.append(error)
            else:
                self.ends.append(time.monotonic())
                self._succeeded.set()
            await asyncio.sleep(EVERY)


class People:
    """Those who call: a client each, through Envoy."""

    def __init__(self, cluster: Cluster) -> None:
        self._credentials = Credentials.read(cluster.home.credentials)

    def client(self, name: str) -> Client:
        """A patient client of this person."""
        return self._credentials.client(name)

    def token(self, name: str) -> str:
        """What this person shows of itself."""
        return self._credentials.tokens[name]


def calls(service: str, client: Client, conversation_id: str) -> Callable[[], Awaitable[object]]:
    """A write to a service, a fresh one each time."""
    sku = f"beat-{new_request_id()[:8]}-{random.randrange(10**9)}"

    async def chat() -> object:
        return await client.chat.send_message(conversation_id, "still here")

    async def order() -> object:
        return await client.order.adjust_stock(sku, 1, shop_id="shop")

    async def mail() -> object:
        return await client.mail.send_mail(
            mail_service_pb2.SendMailRequest(
                stream=mail_pb2.MAIL_STREAM_BULK,
                to=mail_pb2.Mailbox(address="reader@beats.example"),
                content=mail_pb2.MailContent(subject="still here", text="still here"),
            )
        )

    return {"chat": chat, "order": order, "mail": mail}[service]


async def counters(cluster: Cluster, pattern: str) -> dict[str, int]:
    """Envoy's counters whose names match."""
    said = (await ask(cluster.ports.admin, "/stats?format=text") or b"").decode()
    found = (line.split(": ") for line in said.splitlines() if re.search(pattern, line))
    return {name: int(value) for name, value in found}


async def calls_by_port(cluster: Cluster, kind: str) -> dict[int, int]:
    """How many calls Envoy sent to each process of a kind, by its port."""
    said = (await ask(cluster.ports.admin, "/clusters") or b"").decode()
    found = re.findall(rf"^{kind}::[0-9.]+:(\d+)::rq_total::(\d+)$", said, re.MULTILINE)
    return {int(port): int(total) for port, total in found}
