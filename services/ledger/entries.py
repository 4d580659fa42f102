"""The entry: what one append carries, from events to bytes and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.protobuf.message import DecodeError
from tradewind.ledger.v1 import entry_pb2

from services.ledger.decider import Recorded
from services.ledger.errors import HistoryGap
from services.ledger.requests import Answered


def parse(data: bytes) -> entry_pb2.Entry:
    """The entry in its bytes.

    Raises:
        HistoryGap: they are no entry.
    """
    try:
        return entry_pb2.Entry.FromString(data)
    except DecodeError as error:
        raise HistoryGap("an entry cannot be read") from error


def recorded(entry: entry_pb2.Entry) -> tuple[Recorded, ...]:
    """The entry's events, each with the command that wrote it."""
    found: list[Recorded] = []
    version = entry.first_version
    events: Sequence[bytes] = entry.events
    index = 0
    for command in entry.commands:
        for payload in events[index : index + command.events]:
            found.append(Recorded(version, payload, command.request_id, command.traceparent))
            version += 1
        index += command.events
    return tuple(found)


def last_version(entry: entry_pb2.Entry) -> int:
    """The version after the entry."""
    return int(entry.first_version) + len(entry.events) - 1


def answered(entry: entry_pb2.Entry) -> Iterator[tuple[bytes, Answered]]:
    """The entry's request ids with what they wrote."""
    version = int(entry.first_version)
    for command in entry.commands:
        yield command.request_id, Answered(version, command.events, command.fingerprint)
        version += command.events


def find(entry: entry_pb2.Entry, request_id: bytes) -> Answered | None:
    """What a request id wrote in this entry; None where it is not of this entry."""
    return next((found for known, found in answered(entry) if known == request_id), None)
