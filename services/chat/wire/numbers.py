"""Times: microseconds since the Unix epoch here, google.protobuf.Timestamp there."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import chat_pb2


@lru_cache(maxsize=1024)
def timestamp_bytes(at_us: int) -> bytes:
    """Encode microseconds since the Unix epoch as a google.protobuf.Timestamp."""
    return timestamp(at_us).SerializeToString()


def timestamp(at_us: int) -> Timestamp:
    """Give microseconds since the Unix epoch as a Timestamp."""
    return Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1000)


def until(until_us: int) -> Timestamp | None:
    """Give the end of something; None where it has none (0)."""
    return timestamp(until_us) if until_us else None


def microseconds(at: Timestamp) -> int:
    """Give a Timestamp as microseconds since the Unix epoch."""
    return at.seconds * 1_000_000 + at.nanos // 1000


def time_of(payload: bytes) -> int:
    """Read when an event happened, in microseconds since the Unix epoch."""
    return microseconds(chat_pb2.ConversationEvent.FromString(payload).event_time)
