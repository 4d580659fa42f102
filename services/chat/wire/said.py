"""A sent message: what happens most, so it is put together from bytes by hand; and what is read of one afterwards.

Its content is carried through as it was checked, and around it stand few fields.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from tradewind.chat.v1 import chat_pb2

from services.chat import domain
from services.chat.wire.numbers import microseconds, timestamp_bytes
from services.ledger.varint import field, varint

# Fields of ConversationEvent; the tests of this module hold them to the contract.
_VERSION: Final = b"\x08"
_EVENT_TIME: Final = 2
_ACTOR: Final = 3
_ACTING_SERVICE: Final = 4
_MESSAGE_COUNT: Final = b"\x28"
_MESSAGE: Final = b"\x6a"


def encode_said(event: domain.MessageSent, version: int) -> bytes:
    """Give a message's event as protobuf would."""
    at_us, actor, acting_service, content, messages = event
    return b"".join(
        (
            _VERSION,
            varint(version),
            _head(at_us, actor, acting_service),
            _MESSAGE_COUNT + varint(messages) if messages else b"",
            _MESSAGE,
            varint(len(content)),
            content,
        )
    )


@lru_cache(maxsize=4096)
def _head(at_us: int, actor: str, acting_service: str) -> bytes:
    # One sender's messages of one frame share time and sender.
    parts = field(_EVENT_TIME, timestamp_bytes(at_us)) + field(_ACTOR, actor.encode())
    return parts + field(_ACTING_SERVICE, acting_service.encode()) if acting_service else parts


def content_bytes(content: chat_pb2.MessageContent) -> bytes:
    """Encode what was said so that equal contents are equal bytes."""
    return content.SerializeToString(deterministic=True)


class Said(NamedTuple):
    """What never changes about a message: ``sender`` is empty for a system message."""

    sender: str
    at_us: int
    system: bool


def said(payload: bytes) -> Said | None:
    """Read what never changes about a message; None where the event is none."""
    event = chat_pb2.ConversationEvent.FromString(payload)
    which = event.WhichOneof("event")
    if which not in ("message", "system_message"):
        return None
    return Said(event.actor_id, microseconds(event.event_time), which == "system_message")
