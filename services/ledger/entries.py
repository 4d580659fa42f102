"""The entry: what one append carries, from events to bytes and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.protobuf.message import DecodeError
from tradewind.ledger.v1 import entry_pb2

from services.ledger.decider import Recorded
from services.ledger.errors import HistoryGap
from services.ledger.requests import Answered
from services.ledger.varint import varint

# Fields of Entry and Command; a test holds them to the contract.
_FIRST_VERSION, _BASE_VERSION, _BASE_SEQ = b"\x08", b"\x10", b"\x18"
_EVENT, _COMMAND, _WRITER = b"\x22", b"\x2a", b"\x32"
_REQUEST_ID, _FINGERPRINT, _EVENTS, _TRACEPARENT = b"\x0a\x10", b"\x12", b"\x18", b"\x22"


def command(request_id: bytes, fingerprint: bytes, events: int, traceparent: str | None) -> bytes:
    """A command as a field of an Entry. By hand, like `encode`: objects of a thousand commands cost more than deciding them."""
    parts = [_REQUEST_ID, request_id]
    if fingerprint:
        parts += (_FINGERPRINT, varint(len(fingerprint)), fingerprint)
    if events:
        parts += (_EVENTS, varint(events))
    if traceparent:
        parts += (_TRACEPARENT, varint(len(traceparent)), traceparent.encode())
    encoded = b"".join(parts)
    return _COMMAND + varint(len(encoded)) + encoded


def encode(base_version: int, base_seq: int, events: Sequence[bytes], commands: Sequence[bytes], writer: str) -> bytes:
    """An Entry's bytes: events that continue version `base_version`, and the commands (each by `command`) that wrote them."""
    parts = [_FIRST_VERSION, varint(base_version + 1)]
    if base_version:
        parts += (_BASE_VERSION, varint(base_version))
    if base_seq:
        parts += (_BASE_SEQ, varint(base_seq))
    for event in events:
        parts += (_EVENT, varint(len(event)), event)
    parts += commands
    name = writer.encode()
    parts += (_WRITER, varint(len(name)), name)
    return b"".join(parts)


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
