"""A sent message: what happens most, so it is put together from bytes by hand; and what is read of one afterwards.

Its content is carried through as it was checked, and around it stand few fields.
"""

from __future__ import annotations

from collections.abc import Iterable
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
_THREAD_REPLY_COUNT: Final = b"\x30"
_EXPIRE_TIME: Final = 7
_MESSAGE: Final = b"\x6a"


def encode_said(event: domain.MessageSent, version: int) -> bytes:
    """Give a message's event as protobuf would."""
    at_us, actor, acting_service, content, messages, about = event
    return b"".join(
        (
            _VERSION,
            varint(version),
            _head(at_us, actor, acting_service),
            _MESSAGE_COUNT + varint(messages) if messages else b"",
            b"" if about is None or not about.thread_replies else _THREAD_REPLY_COUNT + varint(about.thread_replies),
            b"" if about is None or not about.expires_us else field(_EXPIRE_TIME, timestamp_bytes(about.expires_us)),
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


def decode_said(message: chat_pb2.ConversationEvent) -> domain.MessageSent:
    """Read a message's event."""
    said, at_us = message.message, microseconds(message.event_time)
    about = None
    if said.thread_root or said.HasField("mentions") or message.HasField("expire_time") or said.attachment_ids:
        ends_us = microseconds(message.expire_time)
        names, to_all = mentioned(said)
        about = domain.About(
            said.thread_root,
            message.thread_reply_count,
            names,
            to_all,
            ends_us,
            tuple(said.attachment_ids),
            here(said),
        )
    return domain.MessageSent(
        at_us, message.actor_id, message.acting_service, content_bytes(said), message.message_count, about
    )


def mentioned(content: chat_pb2.MessageContent) -> tuple[tuple[str, ...], bool]:
    """Give whom a message mentions: users by name, and whether all."""
    mentions = content.mentions
    return tuple(mentions.user_ids), mentions.all or (mentions.here and not mentions.here_counted)


def here(content: chat_pb2.MessageContent) -> tuple[str, ...]:
    """Give whom a message mentions because they were online."""
    return tuple(content.mentions.here_user_ids)


def with_here(content: bytes, user_ids: Iterable[str]) -> bytes:
    """Write into a content who was online."""
    message = chat_pb2.MessageContent.FromString(content)
    message.mentions.here_counted = True
    message.mentions.here_user_ids.extend(user_ids)
    return content_bytes(message)


def message_count(payload: bytes) -> int:
    """Read how many messages there were by an event; 0 also where a release wrote it that did not count."""
    return chat_pb2.ConversationEvent.FromString(payload).message_count


def edits_of(payload: bytes) -> int:
    """Read which edit of its message an edit's event is; 0 for no event."""
    return chat_pb2.ConversationEvent.FromString(payload).edited.edits if payload else 0


class Said(NamedTuple):
    """What never changes about a message: ``sender`` is empty for a system message; ``content`` is what it said at first;
    ``expires_us`` is when it ends, 0 where it lasts.
    """

    sender: str
    at_us: int
    thread_root: int
    content: chat_pb2.MessageContent
    expires_us: int = 0

    def ended(self, at_us: int) -> bool:
        """Tell whether its time is over, though it may not have been told yet."""
        return self.expires_us != 0 and at_us >= self.expires_us


def lasts_us(content: chat_pb2.MessageContent) -> int:
    """Give how long a message says that it lasts, in microseconds; 0 where it does not say."""
    lasts = content.expire_after
    return lasts.seconds * 1_000_000 + lasts.nanos // 1000


def said(payload: bytes) -> Said | None:
    """Read what never changes about a message; None where the event is none."""
    event = chat_pb2.ConversationEvent.FromString(payload)
    which = event.WhichOneof("event")
    if which not in ("message", "system_message"):
        return None
    content = event.message
    ends_us = microseconds(event.expire_time)
    return Said(event.actor_id, microseconds(event.event_time), content.thread_root, content, ends_us)
