"""A conversation as one sees it: its newest lines, and what becomes of them while one looks.

Lines come out of pages of the history; then every event of the stream changes them. Nothing here knows of a screen or of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tradewind.chat.v1 import chat_pb2

MOST_LINES: Final = 2_000
"""Lines that a room holds; the oldest go first, and can be fetched again."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that a line carries; without an id it lies elsewhere, at `uri`."""

    name: str
    attachment_id: str
    uri: str


@dataclass(slots=True)
class Line:
    """Something that was said, or that happened; `sender` is empty where no person said it."""

    version: int
    sender: str
    at: datetime
    text: str
    reply_to: tuple[int, ...] = ()
    thread_root: int = 0
    files: tuple[File, ...] = ()
    cards: tuple[str, ...] = ()
    edited: bool = False
    deleted: bool = False
    pinned: bool = False
    replies: int = 0
    reactions: dict[str, int] = field(default_factory=dict)
    mine: set[str] = field(default_factory=set)
    to_me: bool = False
    content: chat_pb2.MessageContent = field(default_factory=chat_pb2.MessageContent)


class Room:
    """One conversation, seen by `me`.

    Attributes:
        lines: by version, oldest first.
        version: of the last event that was seen.
    """

    def __init__(self, conversation_id: str, me: str) -> None:
        self.conversation_id = conversation_id
        self.me = me
        self.lines: dict[int, Line] = {}
        self.version = 0
        self._becomes: Mapping[str, Callable[[chat_pb2.ConversationEvent], list[int]]] = {
            "edited": self._edited,
            "deleted": self._deleted,
            "messages_expired": self._expired,
            "pinned": self._pinned,
            "unpinned": self._pinned,
            "reaction_added": self._reacted,
            "reaction_removed": self._reacted,
        }

    def load(self, messages: Iterable[chat_pb2.Message]) -> None:
        """Take messages of the history, in any order. What is known already stays, as the stream has told more of it."""
        for message in messages:
            self.lines.setdefault(message.version, self._of_message(message))
        self.lines = dict(sorted(self.lines.items()))
        self._trim()

    def seen(self, thread_root: int = 0) -> list[Line]:
        """Give the lines of the conversation itself, or a thread's with its root, oldest first."""
        if not thread_root:
            return [line for line in self.lines.values() if not line.thread_root]
        return [line for line in self.lines.values() if thread_root in (line.version, line.thread_root)]

    def apply(self, event: chat_pb2.ConversationEvent) -> list[int]:
        """Take the next event; gives the versions of lines that are new or look different now."""
        self.version = max(self.version, event.version)
        which = event.WhichOneof("event") or ""
        if which == "message":
            return self._said(event)
        if which in self._becomes:
            return self._becomes[which](event)
        text = _HAPPENS.get(which, lambda _: "")(event)
        if not text:
            return []
        return self._add(Line(event.version, "", event.event_time.ToDatetime(UTC), text))

    def _add(self, line: Line) -> list[int]:
        self.lines[line.version] = line
        self._trim()
        return [line.version]

    def _said(self, event: chat_pb2.ConversationEvent) -> list[int]:
        line = self._of_content(event.version, event.actor_id, event.event_time.ToDatetime(UTC), event.message)
        changed = self._add(line)
        root = self.lines.get(line.thread_root)
        if root is not None:
            root.replies = event.thread_reply_count
            changed.append(root.version)
        return changed

    def _edited(self, event: chat_pb2.ConversationEvent) -> list[int]:
        line = self.lines.get(event.edited.message_version)
        if line is None:
            return []
        said = self._of_content(line.version, line.sender, line.at, event.edited.content)
        line.text, line.files, line.cards, line.edited = said.text, said.files, said.cards, True
        line.content = said.content
        return [line.version]

    def _deleted(self, event: chat_pb2.ConversationEvent) -> list[int]:
        changed = self._gone(event.deleted.message_version)
        root = self.lines.get(event.deleted.thread_root)
        if root is not None:
            root.replies = event.deleted.thread_reply_count
            changed.append(root.version)
        return changed

    def _expired(self, event: chat_pb2.ConversationEvent) -> list[int]:
        return [version for each in event.messages_expired.messages for version in self._gone(each.message_version)]

    def _gone(self, version: int) -> list[int]:
        line = self.lines.get(version)
        if line is None:
            return []
        line.text, line.deleted, line.pinned = "", True, False
        line.files, line.cards, line.reactions = (), (), {}
        line.content = chat_pb2.MessageContent(thread_root=line.thread_root)
        return [version]

    def _pinned(self, event: chat_pb2.ConversationEvent) -> list[int]:
        is_pinned = event.HasField("pinned")
        line = self.lines.get(event.pinned.message_version if is_pinned else event.unpinned.message_version)
        if line is None:
            return []
        line.pinned = is_pinned
        return [line.version]

    def _reacted(self, event: chat_pb2.ConversationEvent) -> list[int]:
        is_given = event.HasField("reaction_added")
        part = event.reaction_added if is_given else event.reaction_removed
        line = self.lines.get(part.message_version)
        if line is None:
            return []
        if part.count:
            line.reactions[part.emoji] = part.count
        else:
            line.reactions.pop(part.emoji, None)
        if event.actor_id == self.me:
            (line.mine.add if is_given else line.mine.discard)(part.emoji)
        return [line.version]

    def _of_message(self, message: chat_pb2.Message) -> Line:
        line = self._of_content(message.version, message.sender_id, message.send_time.ToDatetime(UTC), message.content)
        line.edited, line.pinned = message.edits > 0, message.pinned
        line.deleted = message.HasField("delete_time")
        line.replies = message.thread.reply_count
        line.reactions = {each.emoji: each.count for each in message.reactions}
        line.mine = {each.emoji for each in message.reactions if each.mine}
        return line

    def _of_content(self, version: int, sender: str, at: datetime, said: chat_pb2.MessageContent) -> Line:
        attachments = [part.attachment for part in said.parts if part.HasField("attachment")]
        cards = [part.card.title for part in said.parts if part.HasField("card")]
        orders = [f"order {part.order.order_id}" for part in said.parts if part.HasField("order")]
        return Line(
            version,
            sender,
            at,
            said.text if not said.erased else "",
            tuple(said.reply_to),
            said.thread_root,
            tuple(File(each.name or "file", each.attachment_id, each.uri) for each in attachments),
            (*cards, *orders),
            deleted=said.erased,
            to_me=_mentions(said.mentions, self.me),
            content=said,
        )

    def _trim(self) -> None:
        for version in list(self.lines)[: max(0, len(self.lines) - MOST_LINES)]:
            del self.lines[version]


_Event = chat_pb2.ConversationEvent


def _mentions(mentions: chat_pb2.Mentions, user_id: str) -> bool:
    """Tell whether a message is for a user in particular."""
    here = mentions.here and (not mentions.here_counted or user_id in mentions.here_user_ids)
    return user_id in mentions.user_ids or mentions.all or here


def _added(event: _Event) -> str:
    names = [member.user_id for member in event.members_added.members]
    return f"{', '.join(names)} joined" if names == [event.actor_id] else f"{event.actor_id} added {', '.join(names)}"


def _removed(event: _Event) -> str:
    names = list(event.members_removed.user_ids)
    return f"{', '.join(names)} left" if names == [event.actor_id] else f"{event.actor_id} removed {', '.join(names)}"


def _changed(event: _Event) -> str:
    return f"{event.actor_id} called it {event.changed.title}" if event.changed.HasField("title") else ""


_HAPPENS: Final[Mapping[str, Callable[[Any], str]]] = {
    "system_message": lambda event: event.system_message.text,
    "created": lambda event: f"{event.actor_id} began the conversation",
    "members_added": _added,
    "members_removed": _removed,
    "changed": _changed,
    "banned": lambda event: f"{event.banned.user_id} was banned",
    "muted": lambda event: f"{event.muted.user_id} was muted",
    "unmuted": lambda event: f"{event.unmuted.user_id} may speak again",
}
"""Events that are lines of their own."""
