"""What is kept beside the events about messages that changed, were answered in threads, or mention somebody.

A message itself stays where it was said, in the history. What became of it later stands in rows beside: so a page of messages is a page
of history and the few rows of the same range. Every row is the whole of what it says, so whoever writes it last is right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import chat_pb2

from services.chat import domain, wire
from services.chat.attachments.rows import link_rows, released_row
from services.chat.domain import place
from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

MARKS: Final = "message_marks"
"""By version and what it is about: e the last edit's event, x the deletion's, t the thread's count, u its last version, r and an emoji
how many give it."""
EDITS: Final = "message_edits"
"""Every edit's event, by the message's version and the edit's."""
REACTIONS: Final = "reactions"
"""Who gives a message which emoji: by version, emoji and user."""
OWN_REACTIONS: Final = "own_reactions"
"""What a user gives to messages: by version and emoji."""
THREADS: Final = "thread_messages"
"""The messages of threads, by the root's version and their own."""
DELETED: Final = "deleted_messages"
"""Messages of people that were deleted for all, by version, with who had said them."""
MENTIONS: Final = "mentions"
"""Messages that mention a user, or all, by version, with who said them."""
HERE: Final = b"\0"
"""Begins the value of a mention's row, which is who sent it, where the user was online and not named."""
EXPIRING: Final = "expiring_messages"
"""Messages that do not last, by when they end (µs since the Unix epoch) and version, with the thread they are in and who said them."""
INVITATIONS: Final = "invitations"
"""Whose invitation it is, by the digest of what opens it; spread over 256 partitions of a tenant."""
HIDDEN: Final = "hidden_messages"
"""Messages that a user deleted for itself, by version, with who had said them."""

SLICED: Final = {
    MARKS: 14, EDITS: 14, REACTIONS: 14, OWN_REACTIONS: 12, THREADS: 28, DELETED: 12, MENTIONS: 12, HIDDEN: 12,
    EXPIRING: 7,
}  # fmt: skip
"""By how many characters of a key a store may cut a conversation's rows: 65,536 versions a slice (of a thread its own), 256 where a row
may hold a whole message or a message many rows. What expires is cut by time, into slices of 19 hours."""

_PAGE: Final = 500
_HIGHEST: Final = "\U0010ffff"
"""Sorts after whatever may follow a version in a key; it is no character, so no emoji begins with it."""


def partition(conversation: AggregateId, *of: str) -> str:
    """Name what is listed together: a conversation's rows, or those of a user in it."""
    return "/".join((conversation.tenant, conversation.id, *of))


def key(*versions: int) -> str:
    """Give a place by version, and by another one within it."""
    return "".join(f"{version:016x}" for version in versions)


def version_of(row_key: str) -> int:
    """Read the first version of a place."""
    return int(row_key[:16], 16)


def rows(aggregate: AggregateId, events: Sequence[tuple[int, domain.Event]]) -> Iterator[Row]:
    """Give the rows that events about messages change, in the order of the events."""
    where = partition(aggregate)
    for version, event in events:
        if type(event) is domain.MessageSent:
            if event.about is not None:
                yield from _said(aggregate, version, event, event.about)
        elif isinstance(event, domain.MessageEdited):
            encoded = wire.encode(event, version)
            yield Row(MARKS, where, key(event.version) + "e", encoded)
            yield Row(EDITS, where, key(event.version, version), encoded)
            named = chat_pb2.MessageContent.FromString(event.content).attachment_ids
            yield from link_rows(aggregate, event.version, named)
        elif isinstance(event, domain.MessageDeleted):
            yield Row(MARKS, where, key(event.version) + "x", wire.encode(event, version))
            yield released_row(aggregate, event.version, event.at_us)
            if event.sender:
                yield Row(DELETED, where, key(event.version), event.sender.encode())
            if event.thread_root:
                yield _thread(aggregate, event.thread_root, event.thread_replies)
        elif isinstance(event, domain.ReactionAdded | domain.ReactionRemoved):
            yield from _reacted(aggregate, event)
        elif isinstance(event, domain.MessagesExpired):
            for gone in event.messages_gone:
                yield from _expired(aggregate, version, gone)
        elif isinstance(event, domain.InvitationCreated):
            yield invitation_row(aggregate, event.digest)


def _said(aggregate: AggregateId, version: int, event: domain.MessageSent, about: domain.About) -> Iterator[Row]:
    yield from link_rows(aggregate, version, about.attachments)
    if about.thread_root:
        yield _thread(aggregate, about.thread_root, about.thread_replies)
        yield Row(MARKS, partition(aggregate), key(about.thread_root) + "u", key(version).encode())
        yield Row(THREADS, partition(aggregate), key(about.thread_root, version), b"")
    sender = event.actor.encode()
    if about.expires_us:
        value = f"{about.thread_root}/{event.actor}".encode()
        yield Row(EXPIRING, partition(aggregate), key(about.expires_us, version), value)
    for user_id in about.here:
        yield Row(MENTIONS, partition(aggregate, "u", user_id), key(version), HERE + sender)
    for user_id in about.mentions:  # after them, and in their place: who is named is mentioned by name
        yield Row(MENTIONS, partition(aggregate, "u", user_id), key(version), sender)
    if about.to_all:
        yield Row(MENTIONS, partition(aggregate, "a"), key(version), sender)


def _expired(aggregate: AggregateId, version: int, gone: domain.Expired) -> Iterator[Row]:
    """A message whose time was over is marked as a deleted one, by nobody, at its time."""
    where = partition(aggregate)
    deleted = domain.MessageDeleted(
        gone.expires_us, "", "", gone.version, gone.sender, gone.thread_root, gone.thread_replies
    )
    yield Row(MARKS, where, key(gone.version) + "x", wire.encode(deleted, version))
    yield released_row(aggregate, gone.version, gone.expires_us)
    yield Row(DELETED, where, key(gone.version), gone.sender.encode())
    yield Row(EXPIRING, where, key(gone.expires_us, gone.version), None)
    if gone.thread_root:
        yield _thread(aggregate, gone.thread_root, gone.thread_replies)


def invitation_row(aggregate: AggregateId, digest: str) -> Row:
    """Give the row that says whose invitation it is."""
    return Row(INVITATIONS, f"{aggregate.tenant}/{digest[:2]}", digest, aggregate.id.encode())


def _reacted(aggregate: AggregateId, event: domain.ReactionAdded | domain.ReactionRemoved) -> Iterator[Row]:
    where, place_ = partition(aggregate), key(event.version)
    is_there = b"" if isinstance(event, domain.ReactionAdded) else None
    yield Row(MARKS, where, f"{place_}r{event.emoji}", str(event.count).encode() if event.count else None)
    yield Row(REACTIONS, where, f"{place_}{event.emoji}/{event.actor}", is_there)
    yield Row(OWN_REACTIONS, partition(aggregate, event.actor), f"{place_}{event.emoji}", is_there)


def _thread(aggregate: AggregateId, root: int, replies: int) -> Row:
    return Row(MARKS, partition(aggregate), key(root) + "t", str(replies).encode())


def place_rows(aggregate: AggregateId, events: Sequence[tuple[int, place.PlaceChange]]) -> Iterator[Row]:
    """Give the rows of messages that a user deleted for itself; the place's id names conversation and user."""
    for _, event in events:
        if isinstance(event, place.MessageHidden):
            yield Row(HIDDEN, f"{aggregate.tenant}/{aggregate.id}", key(event.version), event.sender.encode())


@dataclass(slots=True)
class Mark:
    """What became of a message: its last edit and its deletion (events, encoded), its thread, how many give which emoji."""

    edited: bytes = b""
    deleted: bytes = b""
    replies: int = 0
    last_reply: int = 0
    reactions: dict[str, int] = field(default_factory=dict)

    def apply(self, message: chat_pb2.Message) -> None:
        """Show it on a message."""
        if self.last_reply:
            message.thread.reply_count = self.replies
            message.thread.last_reply_version = self.last_reply
        for emoji, count in self.reactions.items():
            message.reactions.add(emoji=emoji, count=count)
        if self.edited:
            event = chat_pb2.ConversationEvent.FromString(self.edited)
            message.content.CopyFrom(event.edited.content)
            message.edit_time.CopyFrom(event.event_time)
            message.edits = event.edited.edits
        if self.deleted:
            _delete(message, chat_pb2.ConversationEvent.FromString(self.deleted).event_time)


def end(message: chat_pb2.Message, at_us: int) -> None:
    """Show a message as a deleted one from the moment on at which its time is over, whether that was told yet or not."""
    ends_us = wire.microseconds(message.expire_time)
    if ends_us and at_us >= ends_us and not message.HasField("delete_time"):
        _delete(message, message.expire_time)


def _delete(message: chat_pb2.Message, at: Timestamp) -> None:
    where = message.content.thread_root  # it stays where it was said
    message.ClearField("content")
    message.content.SetInParent()
    message.content.thread_root = where
    message.ClearField("reactions")
    message.delete_time.CopyFrom(at)


def _take(found: dict[int, Mark], row: Row) -> None:
    mark = found.setdefault(version_of(row.key), Mark())
    value = row.value or b""
    match row.key[16:17]:
        case "e":
            mark.edited = value
        case "x":
            mark.deleted = value
        case "t":
            mark.replies = int(value)
        case "u":
            mark.last_reply = int(value, 16)
        case "r":
            mark.reactions[row.key[17:]] = int(value)


async def marks(ledger: Ledger, conversation: AggregateId, versions: Sequence[int]) -> dict[int, Mark]:
    """Read what became of messages: of a whole range, or of each by itself."""
    found: dict[int, Mark] = {}
    ranges = [(versions[0], versions[-1])] if isinstance(versions, range) else [(each, each) for each in versions]
    for first, last in ranges:
        async for row in between(ledger, MARKS, partition(conversation), first, last):
            _take(found, row)
    return found


async def mark(ledger: Ledger, conversation: AggregateId, version: int) -> Mark:
    """Read what became of one message."""
    return (await marks(ledger, conversation, (version,))).get(version) or Mark()


async def own_reactions(
    ledger: Ledger, conversation: AggregateId, user_id: str, first: int, last: int
) -> set[tuple[int, str]]:
    """Read which emojis a user gives to messages of a range."""
    where = partition(conversation, user_id)
    return {(version_of(row.key), row.key[16:]) async for row in between(ledger, OWN_REACTIONS, where, first, last)}


async def gives(ledger: Ledger, conversation: AggregateId, user_id: str, version: int, emoji: str) -> bool:
    """Tell whether a user gives a message an emoji."""
    where = partition(conversation, user_id)
    return await ledger.row(OWN_REACTIONS, where, key(version) + emoji) is not None


async def hidden(ledger: Ledger, conversation: AggregateId, user_id: str, first: int, last: int) -> set[int]:
    """Read which messages of a range a user deleted for itself."""
    where = partition(conversation, user_id)
    return {version_of(row.key) async for row in between(ledger, HIDDEN, where, first, last)}


async def between(ledger: Ledger, table: str, where: str, first: int, last: int) -> AsyncIterator[Row]:
    """Iterate over the rows of a range of versions, both ends included."""
    after = key(first - 1) + _HIGHEST
    while True:
        page = await ledger.rows(table, where, after=after, limit=_PAGE)
        for row in page:
            if version_of(row.key) > last:
                return
            yield row
        if len(page) < _PAGE:
            return
        after = page[-1].key
