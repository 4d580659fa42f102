"""The simulated nats-servers as one: what arrives there, and what they answer. Their clients are in `client`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.errors import APIError, NotFoundError

from tests.simulation.streams import NAME_IN_USE, Durable, Message, Refusal, Stream
from tests.simulation.weather import Network

Headers = dict[str, str]
Reply = Callable[[bytes, Headers], None]
Deliver = Callable[[str, bytes, Headers, str], None]

_DIRECT = "$JS.API.DIRECT.GET."
_SURE = "$JS.API.STREAM.MSG.GET."
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
NO_RESPONDERS = {"Status": "503"}
_NOT_FOUND = {"Status": "404"}


class Broker:
    """The servers.

    Args:
        network: between the processes and them.
        may_leave: whether a message that is old enough may leave its stream.

    Attributes:
        up: False: nothing that arrives is answered.
        behind: most seconds that a copy which answers a read may be behind the one that decides.
        restarts: how often every client lost its connection.
    """

    def __init__(self, network: Network, may_leave: Callable[[Message], bool] = lambda _message: True) -> None:
        self.network = network
        self._may_leave = may_leave
        self.up = True
        self.behind = 0.0
        self.restarts = 0
        self.streams: dict[str, Stream] = {}
        self.listeners: dict[str, dict[object, tuple[str | None, Deliver]]] = {}
        self.noticed: Callable[[str, Stream, Message], None] | None = None

    def now(self) -> float:
        """Seconds."""
        return self.network.loop.time()

    def wipe(self) -> None:
        """All folders are deleted: no stream is left."""
        self.streams.clear()

    def arrive(self, subject: str, data: bytes, reply: str, headers: Headers) -> None:
        """A message arrives."""
        if not self.up:
            return
        if subject.startswith(_DIRECT):
            self._direct(subject[len(_DIRECT) :], data, reply)
        elif subject.startswith(_SURE):
            self._sure(subject[len(_SURE) :], data, reply)
        else:
            self._publish(subject, data, reply, headers)

    def deliver(self, subject: str, data: bytes, headers: Headers, reply: str = "") -> bool:
        """Hands a message to who listens: to one of each queue, and to all others. False: nobody does."""
        listeners = self.listeners.get(subject) or self.listeners.get(subject.rpartition(".")[0] + ".*")
        if not listeners:
            return False
        queues: dict[str, list[Deliver]] = {}
        for queue, deliver in list(listeners.values()):
            if queue is None:
                deliver(subject, data, headers, reply)
            else:
                queues.setdefault(queue, []).append(deliver)
        for members in queues.values():
            self.network.chance.choice(members)(subject, data, headers, reply)
        return True

    def _publish(self, subject: str, data: bytes, reply: str, headers: Headers) -> None:
        stream = next((s for s in self.streams.values() if subject.startswith(s.prefix)), None)
        if stream is None:
            if not self.deliver(subject, data, headers, reply) and reply:
                self.deliver(reply, b"", NO_RESPONDERS)
            return
        answer: dict[str, Any]
        try:
            answer = {"stream": stream.name, "seq": self.append(stream, subject, data, headers)}
        except Refusal as refusal:
            answer = {"error": {"code": 400, "err_code": refusal.code}}
        if reply:
            self.deliver(reply, json.dumps(answer).encode(), {})

    def append(self, stream: Stream, subject: str, data: bytes, headers: Headers) -> int:
        """Appends to a stream, and wakes who pulls.

        Raises:
            Refusal: the fence.
        """
        fence = headers.get(_EXPECTED)
        seq = stream.append(subject, data, None if fence is None else int(fence), self.now())
        if self.noticed is not None:
            self.noticed(subject, stream, stream.messages[-1])
        for durable in stream.durables.values():
            waiting, durable.waiting = durable.waiting, []
            for wake in waiting:
                wake()
        return seq

    def _upto(self) -> float | None:
        """What a copy has seen that answers a read: None for all, else until when."""
        if not self.behind or self.network.chance.random() < 0.5:
            return None
        return self.now() - self.network.chance.random() * self.behind

    def _direct(self, where: str, data: bytes, reply: str) -> None:
        name, _, subject = where.partition(".")
        stream = self.streams.get(name)
        if stream is None:
            self.deliver(reply, b"", NO_RESPONDERS)
            return
        stream.age(self.now())
        upto = self._upto()
        if subject:
            found = [one] if (one := stream.last(subject, upto)) is not None else []
            limit = 1
        else:
            query = json.loads(data)
            limit = int(query.get("batch", 1))
            found = stream.following(int(query["seq"]), query["next_by_subj"], limit, upto)
            if "batch" in query:
                self._batch(found, limit, reply)
                return
        if not found:
            self.deliver(reply, b"", _NOT_FOUND)
        for message in found:
            self.deliver(reply, message.data, _described(message))

    def _batch(self, found: list[Message], limit: int, reply: str) -> None:
        for message in found:
            self.deliver(reply, message.data, _described(message))
        if len(found) < limit:
            self.deliver(reply, b"", {"Status": "204"} if found else _NOT_FOUND)

    def _sure(self, name: str, data: bytes, reply: str) -> None:
        stream = self.streams.get(name)
        if stream is None:
            self.deliver(reply, b"", NO_RESPONDERS)
            return
        stream.age(self.now())
        query = json.loads(data)
        if "last_by_subj" in query:
            one = stream.last(query["last_by_subj"])
        else:
            one = next(iter(stream.following(int(query["seq"]), query["next_by_subj"], 1)), None)
        answer: dict[str, Any] = {"error": {"code": 404, "err_code": 10037}}
        if one is not None:
            content = base64.b64encode(one.data).decode()
            answer = {"message": {"seq": one.seq, "subject": one.subject, "data": content}}
        self.deliver(reply, json.dumps(answer).encode(), {})

    def stream(self, name: str) -> Stream:
        """A stream, as it is now.

        Raises:
            NotFoundError: there is none.
        """
        stream = self.streams.get(name)
        if stream is None:
            raise NotFoundError(code=404, err_code=10059)
        stream.age(self.now())
        return stream

    def add_stream(self, config: StreamConfig) -> None:
        """Makes a stream.

        Raises:
            APIError: its name is in use for another configuration.
        """
        name, first = config.name or "", config.first_seq or 1
        known = self.streams.get(name)
        if known is not None:
            if known.begun != first:
                raise APIError(code=400, err_code=NAME_IN_USE)
            return
        subject = (config.subjects or [name])[0]
        prefix = subject.rstrip("*>")
        self.streams[name] = Stream(
            name, prefix, first, config.max_age or None, dict(config.metadata or {}), self._may_leave
        )

    def delete_stream(self, name: str) -> None:
        """Ends a stream.

        Raises:
            NotFoundError: there is none.
        """
        self.stream(name)
        del self.streams[name]

    def add_consumer(self, name: str, config: ConsumerConfig) -> None:
        """Makes a durable consumer where it is missing.

        Raises:
            NotFoundError: its stream is not there.
        """
        stream = self.stream(name)
        durable = config.durable_name or config.name or ""
        if durable not in stream.durables:
            stream.durables[durable] = Durable(stream, config.filter_subject or ">", config.ack_wait or 30.0)

    def durable(self, stream: str, name: str) -> Durable:
        """A durable consumer.

        Raises:
            NotFoundError: it, or its stream, is not there.
        """
        found = self.stream(stream).durables.get(name)
        if found is None:
            raise NotFoundError(code=404, err_code=10014)
        return found


def _described(message: Message) -> Headers:
    return {"Nats-Sequence": str(message.seq), "Nats-Subject": message.subject}
