"""Between the contract's messages and the domain: events in and out, conversations and messages as answers show them."""

from services.chat.wire.events import decode, encode, kind_of, role_of
from services.chat.wire.numbers import microseconds, time_of, timestamp, timestamp_bytes
from services.chat.wire.places import decode_place, encode_place
from services.chat.wire.said import (
    Said,
    content_bytes,
    edits_of,
    here,
    lasts_us,
    mentioned,
    message_count,
    said,
    with_here,
)
from services.chat.wire.shown import ban, conversation, message, removed, wording

__all__ = [
    "Said",
    "ban",
    "content_bytes",
    "conversation",
    "decode",
    "decode_place",
    "edits_of",
    "encode",
    "encode_place",
    "here",
    "kind_of",
    "lasts_us",
    "mentioned",
    "message",
    "message_count",
    "microseconds",
    "removed",
    "role_of",
    "said",
    "time_of",
    "timestamp",
    "timestamp_bytes",
    "with_here",
    "wording",
]
