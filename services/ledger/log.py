"""The port to the log: one life (epoch) of one service's log, and the lives themselves. JetStream is behind it: `jetstream`.

The epoch is the stream's first sequence and part of its name and of every subject, so a client of an earlier life fails loudly
instead of writing into a new one. Sequences therefore rise over all lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.ledger.ids import AggregateId, partition_of, token, untoken


@dataclass(frozen=True, slots=True)
class LogMessage:
    """One message of the log: its sequence, the Entry's bytes, and the subject, which names the aggregate."""

    seq: int
    data: bytes
    subject: str


@dataclass(frozen=True)
class LogSettings:
    """How a service's log is kept.

    Attributes:
        service: whose.
        partitions: into how many parts consumers share it; never changed within a life.
        replicas: copies of the stream.
        max_age: seconds entries stay; only stored ones may leave (the store is the memory).
        max_bytes: most bytes of the log, beyond which it takes no more until older entries have left; -1: no bound of its own.
        exclusive: True where this process owns log and store alone and may begin a new life by itself (standalone).
    """

    service: str
    partitions: int = 4
    replicas: int = 1
    max_age: float = 7 * 24 * 3600.0
    max_bytes: int = -1
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Ends:
    """The first sequence a life still holds (the next one it would give where it holds none), and the last it gave."""

    first: int
    last: int


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


def subject_of(service: str, epoch: int, partitions: int, aggregate: AggregateId) -> str:
    """The subject of an aggregate's entries in one life of a log."""
    partition = partition_of(aggregate.key, partitions)
    return f"ledger.{epoch}.{service}.{partition}.{token(aggregate.tenant)}.{aggregate.kind}.{token(aggregate.id)}"


class Log(Protocol):
    """One life of a service's log.

    Reads may be answered by a copy that is a moment behind; with `sure` the copy that decides answers, which costs more. What an
    append was acknowledged for, every sure read shows.
    """

    service: str
    epoch: int
    partitions: int

    def subject(self, aggregate: AggregateId) -> str:
        """The aggregate's subject in this life."""

    async def append(self, subject: str, data: bytes, fence: int) -> int:
        """Appends if the subject's last sequence is still `fence` (0: none, or none any more); answers the new one.

        Raises:
            FenceLost: another writer was first.
            TooLarge: the log takes no message of this size.
            LogUnavailable: not sent, refused, or not acknowledged in time; in the last case it may still land.
            StoreUnavailable: the log was away, and whether it came back whole cannot be seen now; nothing was sent.
            LogLost: it did not come back whole.
        """

    async def last(self, subject: str, *, sure: bool = False) -> LogMessage | None:
        """The subject's last message; None where it holds none.

        Raises:
            LogUnavailable: this life of the log did not answer.
        """

    async def tail(self, subject: str, after: int, until: int, *, sure: bool = False) -> Sequence[LogMessage]:
        """The subject's messages above sequence `after` up to `until`, in order.

        Raises:
            LogUnavailable: this life of the log did not answer.
        """

    async def page(self, start: int, until: int) -> Sequence[LogMessage]:
        """All messages from sequence `start` to `until`, of all aggregates, in order, as far as they have not aged out.

        Raises:
            LogUnavailable: this life of the log did not answer, or not wholly.
        """

    async def ends(self) -> Ends:
        """Where this life begins and ends now.

        Raises:
            LogUnavailable: this life of the log did not answer.
        """


class Lives(Protocol):
    """The lives of one service's log. Every method raises `LogUnavailable` where the log cannot be asked now."""

    async def newest(self) -> int | None:
        """The newest life the log holds; None where it holds none."""

    async def ends(self, epoch: int) -> Ends | None:
        """Where a life begins and ends; None where the log does not hold it."""

    async def claim(self, epoch: int) -> int:
        """Names the very first life; of all who try, one decides. Answers the one that holds."""

    async def begin(self, epoch: int) -> None:
        """Makes a life; nothing where it is there."""

    async def end(self, epoch: int) -> None:
        """Ends a life, so that nobody can write into it any more; nothing where it is gone."""
