"""One process's connection to the simulated nats-servers, with what the ledger uses of `nats.aio.client.Client`."""

from __future__ import annotations

import asyncio
import datetime
from collections import deque
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from nats.errors import ConnectionClosedError, NoRespondersError
from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.errors import APIError, NotFoundError

from tests.simulation.broker import Broker, Headers
from tests.simulation.loop import Process
from tests.simulation.streams import Durable, Message, Refusal

Callback = Callable[["SimulatedMessage"], Coroutine[Any, Any, None]]
_JETSTREAM_WITHIN = 5.0
EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""When the simulation begins."""


class SimulatedMessage:
    """A message as a client gets it (`nats.aio.msg.Msg`)."""

    __slots__ = ("_client", "_durable", "data", "headers", "metadata", "reply", "subject")

    def __init__(
        self, client: SimulatedClient, subject: str, data: bytes, headers: Headers, reply: str = "",
        durable: Durable | None = None, metadata: Any = None,
    ) -> None:  # fmt: skip
        self._client, self._durable = client, durable
        self.subject, self.data, self.headers, self.reply = subject, data, headers, reply
        self.metadata = metadata

    async def respond(self, data: bytes) -> None:
        """Answers who asked."""
        await self._client.publish(self.reply, data)

    async def ack(self) -> None:
        """Acknowledges a message of a durable consumer."""
        durable = self._durable
        assert durable is not None
        self._client.send(durable.acknowledge, self.metadata.sequence.stream)

    async def in_progress(self) -> None:
        """Asks for more time for a message of a durable consumer."""
        durable, broker = self._durable, self._client.broker
        assert durable is not None
        seq = self.metadata.sequence.stream
        self._client.send(lambda: durable.progress(seq, broker.now()))


class SimulatedSubscription:
    """Who listens to a subject."""

    def __init__(self, client: SimulatedClient, subject: str, queue: str | None, callback: Callback | None) -> None:
        self._client, self._subject, self._callback = client, subject, callback
        self._came: deque[SimulatedMessage] = deque()
        self._news = asyncio.Event()
        self._latest = 0.0
        client.broker.listeners.setdefault(subject, {})[self] = (queue, self._deliver)
        client.subscriptions.append(self)

    def _deliver(self, subject: str, data: bytes, headers: Headers, reply: str) -> None:
        client = self._client
        message = SimulatedMessage(client, subject, data, headers, reply)
        # One connection: what was sent first comes first.
        self._latest = client.broker.network.back(client.process, self._take, message, after=self._latest)

    def _take(self, message: SimulatedMessage) -> None:
        if not self._client.process.alive:
            return
        if self._callback is None:
            self._came.append(message)
            self._news.set()
        else:
            self._client.process.start(self._callback(message))

    async def next_msg(self, timeout: float) -> SimulatedMessage:
        """Waits for the next message."""
        async with asyncio.timeout(timeout):
            while not self._came:
                self._news.clear()
                await self._news.wait()
        return self._came.popleft()

    def end(self) -> None:
        """Listens no more."""
        self._client.broker.listeners.get(self._subject, {}).pop(self, None)

    async def unsubscribe(self) -> None:
        """Listens no more."""
        self.end()


class SimulatedClient:
    """A connection.

    Attributes:
        process: whose.
        subscriptions: what it listens to.
    """

    max_payload = 1 << 20

    def __init__(self, broker: Broker, process: Process) -> None:
        self.broker, self.process = broker, process
        self.subscriptions: list[SimulatedSubscription] = []
        self.is_connected = True
        self._numbered = 0
        self.stats = {"reconnects": 0}

    def check(self) -> None:
        """Ends whoever works for a process that is no more."""
        if not self.process.alive:
            raise asyncio.CancelledError

    def send(self, step: Callable[..., object], *args: Any) -> None:
        """Sends what nobody answers."""
        self.check()
        if not self.is_connected:
            raise ConnectionClosedError
        self.broker.network.out(self.process, self._arrived, step, args)

    def _arrived(self, step: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self.broker.up:
            step(*args)

    def new_inbox(self) -> str:
        """A subject of its own."""
        self._numbered += 1
        return f"_INBOX.{self.process.name}.{self._numbered}"

    async def publish(self, subject: str, payload: bytes = b"", reply: str = "", headers: Any = None) -> None:
        """Publishes."""
        self.check()
        if not self.is_connected:
            raise ConnectionClosedError
        self.broker.network.out(self.process, self.broker.arrive, subject, payload, reply, dict(headers or {}))

    async def subscribe(self, subject: str, queue: str = "", cb: Callback | None = None) -> SimulatedSubscription:
        """Listens to a subject, or to all right below one where it ends with ".*"."""
        self.check()
        return SimulatedSubscription(self, subject, queue or None, cb)

    async def request(self, subject: str, payload: bytes = b"", timeout: float = 0.5) -> SimulatedMessage:
        """Asks, and waits for one answer.

        Raises:
            TimeoutError: none came.
            NoRespondersError: nobody is there.
        """
        subscription = SimulatedSubscription(self, self.new_inbox(), None, None)
        try:
            await self.publish(subject, payload, subscription._subject)
            answer = await subscription.next_msg(timeout)
        finally:
            subscription.end()
        if answer.headers.get("Status") == "503":
            raise NoRespondersError
        return answer

    def jetstream(self) -> SimulatedJetStream:
        """JetStream, over this connection."""
        return SimulatedJetStream(self)

    async def ask(self, question: Callable[[], Any], timeout: float = _JETSTREAM_WITHIN) -> Any:
        """Asks something of the servers, and waits for the answer.

        Raises:
            TimeoutError: none came.
        """
        self.check()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(self._question, question, future)
        async with asyncio.timeout(timeout):
            return await future

    def _question(self, question: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        try:
            answer, error = question(), None
        except Exception as refused:  # noqa: BLE001 - whatever it is, it is the answer
            answer, error = None, refused
        self.broker.network.back(self.process, _settle, future, answer, error)

    def lose(self) -> None:
        """The process is no more: it hears nothing."""
        for subscription in self.subscriptions:
            subscription.end()
        self.subscriptions.clear()

    async def close(self) -> None:
        """Hears nothing more."""
        self.is_connected = False
        self.lose()


def _settle(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)


class SimulatedPull:
    """A pull subscription to a durable consumer."""

    def __init__(self, client: SimulatedClient, stream: str, durable: str) -> None:
        self._client, self._stream, self._durable = client, stream, durable

    async def unsubscribe(self) -> None:
        """Pulls no more."""

    async def fetch(self, batch: int, timeout: float) -> list[SimulatedMessage]:
        """Pulls; answers at least one message.

        Raises:
            TimeoutError: none came.
        """
        client = self._client
        client.check()
        future: asyncio.Future[list[SimulatedMessage]] = asyncio.get_running_loop().create_future()
        until = client.broker.now() + timeout
        client.send(self._pull, batch, until, future)
        async with asyncio.timeout(timeout):
            return await future

    def _pull(self, batch: int, until: float, future: asyncio.Future[list[SimulatedMessage]]) -> None:
        broker = self._client.broker
        now = broker.now()
        if now >= until or future.done() or not self._client.process.alive:
            return
        try:
            durable = broker.durable(self._stream, self._durable)
        except NotFoundError:
            broker.network.back(self._client.process, _settle, future, [], None)
            return
        handed = [self._message(durable, *delivery) for delivery in durable.take(batch, now)]
        if handed:
            broker.network.back(self._client.process, _settle, future, handed, None)
            return
        due = durable.due()
        if due is not None and due < until:
            broker.network.later(due - now, self._pull, batch, until, future)
        durable.waiting.append(lambda: self._pull(batch, until, future))

    def _message(self, durable: Durable, message: Message, tries: int, number: int) -> SimulatedMessage:
        metadata = SimpleNamespace(
            sequence=SimpleNamespace(stream=message.seq, consumer=number),
            num_delivered=tries,
            timestamp=EPOCH + datetime.timedelta(seconds=message.at),
        )
        return SimulatedMessage(self._client, message.subject, message.data, {}, "", durable, metadata)


class SimulatedJetStream:
    """What the ledger uses of `nats.js.JetStreamContext`."""

    def __init__(self, client: SimulatedClient) -> None:
        self._client, self._broker = client, client.broker

    async def stream_info(self, name: str) -> Any:
        """A stream's configuration and state."""

        def look() -> Any:
            stream = self._broker.stream(name)
            return _info(name, stream.first_seq, stream.last_seq, stream.metadata)

        return await self._client.ask(look)

    async def streams_info(self, offset: int = 0) -> Any:
        """All streams."""

        def look() -> Any:
            streams = list(self._broker.streams.values())[offset:]
            return [_info(s.name, s.first_seq, s.last_seq, s.metadata) for s in streams]

        return await self._client.ask(look)

    async def add_stream(self, config: StreamConfig) -> None:
        """Makes a stream."""
        await self._client.ask(lambda: self._broker.add_stream(config))

    async def delete_stream(self, name: str) -> None:
        """Ends a stream."""
        await self._client.ask(lambda: self._broker.delete_stream(name))

    async def publish(self, subject: str, payload: bytes = b"", headers: Any = None) -> Any:
        """Publishes with acknowledgement."""

        def append() -> Any:
            stream = next((s for s in self._broker.streams.values() if subject.startswith(s.prefix)), None)
            if stream is None:
                raise NoRespondersError
            try:
                seq = self._broker.append(stream, subject, payload, dict(headers or {}))
            except Refusal as refusal:
                raise _api_error(refusal.code) from refusal
            return SimpleNamespace(seq=seq, stream=stream.name)

        return await self._client.ask(append)

    async def get_last_msg(self, name: str, subject: str) -> Any:
        """The last message of a subject."""

        def look() -> Any:
            found = self._broker.stream(name).last(subject)
            if found is None:
                raise NotFoundError(code=404, err_code=10037)
            return SimpleNamespace(data=found.data, seq=found.seq, subject=found.subject)

        return await self._client.ask(look)

    async def get_msg(
        self, name: str, seq: int | None = None, direct: bool = False, next: bool = False, subject: str = ">"
    ) -> Any:
        """One message by its sequence, or the next from there on."""

        def look() -> Any:
            found = self._broker.stream(name).following(seq or 0, subject if next else ">", 1)
            if not found or (not next and found[0].seq != seq):
                raise NotFoundError(code=404, err_code=10037)
            return SimpleNamespace(data=found[0].data, seq=found[0].seq, subject=found[0].subject)

        return await self._client.ask(look)

    async def add_consumer(self, stream: str, config: ConsumerConfig) -> None:
        """Makes a durable consumer."""
        await self._client.ask(lambda: self._broker.add_consumer(stream, config))

    async def pull_subscribe_bind(self, durable: str, stream: str) -> SimulatedPull:
        """Pulls from a durable consumer."""
        return SimulatedPull(self._client, stream, durable)

    async def consumer_info(self, stream: str, durable: str) -> Any:
        """Where a durable consumer is."""

        def look() -> Any:
            found = self._broker.durable(stream, durable)
            return SimpleNamespace(
                ack_floor=SimpleNamespace(stream_seq=found.floor),
                delivered=SimpleNamespace(consumer_seq=found.sent, stream_seq=found.delivered),
            )

        return await self._client.ask(look)


def _info(name: str, first: int, last: int, metadata: dict[str, str]) -> Any:
    return SimpleNamespace(
        state=SimpleNamespace(first_seq=first, last_seq=last),
        config=SimpleNamespace(name=name, metadata=metadata),
    )


def _api_error(code: int) -> Exception:
    return APIError(code=400, err_code=code)
