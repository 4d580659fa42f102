"""One life (epoch) of one service's log on JetStream: fenced appends, and reads of one aggregate's subject.

The epoch is the stream's first sequence and part of its name and of every subject, so a client of an earlier life fails loudly
instead of writing into a new one. Sequences therefore rise over all lives.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from services.ledger.errors import LogUnavailable
from services.ledger.ids import AggregateId, partition_of, token, untoken
from services.ledger.publisher import Publisher

_TAIL_BATCH = 256


@dataclass(frozen=True, slots=True)
class LogMessage:
    """One message of the log: its sequence, the Entry's bytes, and the subject, which names the aggregate."""

    seq: int
    data: bytes
    subject: str


def stream_name(service: str, epoch: int) -> str:
    """The stream that holds one life of a service's log."""
    return f"ledger-{service}-{epoch}"


def subject_filter(service: str, epoch: int, partition: int | None = None, kind: str | None = None) -> str:
    """The subjects of one life of a log, or of one of its partitions, or there of one kind of aggregate alone."""
    part = "" if partition is None else f"{partition}."
    rest = ">" if kind is None else f"*.{kind}.*"
    return f"ledger.{epoch}.{service}.{part}{rest}"


def aggregate_of(subject: str) -> AggregateId:
    """The aggregate whose entries a subject carries."""
    _, _, _, _, tenant, kind, ident = subject.split(".")
    return AggregateId(untoken(tenant), kind, untoken(ident))


class Log:
    """One life of a service's log."""

    def __init__(self, nats: Client, publisher: Publisher, service: str, epoch: int, partitions: int) -> None:
        self._nats = nats
        self._publisher = publisher
        self.service = service
        self.epoch = epoch
        self.partitions = partitions
        self.stream = stream_name(service, epoch)
        self._direct = f"$JS.API.DIRECT.GET.{self.stream}"

    def subject(self, aggregate: AggregateId) -> str:
        """The aggregate's subject in this life."""
        partition = partition_of(aggregate.key, self.partitions)
        return (
            f"ledger.{self.epoch}.{self.service}.{partition}"
            f".{token(aggregate.tenant)}.{aggregate.kind}.{token(aggregate.id)}"
        )

    async def append(self, subject: str, data: bytes, fence: int) -> int:
        """Appends if the subject's last sequence is still `fence` (0: none); answers the new one.

        Raises:
            FenceLost: another writer was first.
            LogUnavailable: see `Publisher.publish`; it may still land.
        """
        return await self._publisher.publish(subject, data, {"Nats-Expected-Last-Subject-Sequence": str(fence)})

    async def last(self, subject: str) -> LogMessage | None:
        """The subject's last message; None where it holds none.

        Raises:
            LogUnavailable: this life of the log did not answer.
        """
        return await self._get(f"{self._direct}.{subject}", b"")

    async def _get(self, subject: str, query: bytes) -> LogMessage | None:
        if not self._nats.is_connected:
            raise LogUnavailable("no connection to the log")
        try:
            answer = await self._nats.request(subject, query, timeout=2.0)
        except NoRespondersError as error:
            raise LogUnavailable("this life of the log is down or lost") from error
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error
        return _message(answer)

    async def tail(self, subject: str, after: int, until: int) -> Sequence[LogMessage]:
        """The subject's messages above sequence `after` up to `until`, in order.

        Raises:
            LogUnavailable: this life of the log did not answer.
        """
        first = await self._get(self._direct, json.dumps({"seq": after + 1, "next_by_subj": subject}).encode())
        if first is None:
            return ()
        found = [first]
        after = first.seq  # mostly that is all: one entry of another writer
        while after < until:
            page = await self._page(subject, after + 1)
            if not page:
                break
            found.extend(message for message in page if message.seq <= until)
            after = page[-1].seq
        return found

    async def page(self, start: int, limit: int) -> Sequence[LogMessage]:
        """This life's messages from sequence `start` on, of all aggregates, in order, at most `limit`.

        Raises:
            LogUnavailable: this life of the log did not answer.
        """
        return await self._page(subject_filter(self.service, self.epoch), start, limit)

    async def _page(self, subject: str, start: int, limit: int = _TAIL_BATCH) -> list[LogMessage]:
        inbox = self._nats.new_inbox()
        page: list[LogMessage] = []
        subscription = await self._nats.subscribe(inbox)
        try:
            query = {"seq": start, "batch": limit, "next_by_subj": subject}
            await self._nats.publish(self._direct, json.dumps(query).encode(), reply=inbox)
            while len(page) < limit:
                answer = await subscription.next_msg(timeout=2.0)
                message = _message(answer)
                if message is None:
                    break
                page.append(message)
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error
        finally:
            await subscription.unsubscribe()
        return page


def _message(answer: Msg) -> LogMessage | None:
    headers = answer.headers or {}
    status = headers.get("Status")
    if status in ("404", "204"):
        return None
    if status is not None:
        raise LogUnavailable(f"the log answered with status {status}")
    return LogMessage(int(headers["Nats-Sequence"]), answer.data, headers["Nats-Subject"])
