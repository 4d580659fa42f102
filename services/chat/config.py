"""Settings of the Chat service, beside those of every service: same environment prefix, same file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, FilePath

from services.chat.attachments.config import AttachmentSettings
from services.chat.moderation.hook_settings import MessageHook
from services.runtime.config import Address, Seconds


class ChatSettings(AttachmentSettings):
    """What Chat can be told."""

    store_file: Path = Path("chat.db")
    """The SQLite file that remembers conversations."""
    stream_unanswered: int = Field(1024, ge=1, le=65_536)
    """Sends of one stream that may be unanswered before its next frame is read."""
    stream_subscriptions: int = Field(1000, ge=1)
    """Conversations that one stream may hear at a time."""
    stream_frame_bytes: int = Field(512 * 1024, ge=16 * 1024, le=3 * 1024 * 1024)
    """A frame takes no further deliveries once it holds so much; clients take 4 MiB by default."""
    stream_pace: Seconds = 0.015
    """Between two deliveries to a stream that keeps up passes so long, and what is said meanwhile goes together. What comes after a pause
    goes at once, and answers never wait. 0: every word by itself."""
    drain_answers: Seconds = 1.0
    """When the server drains, a stream waits so long for the answers to its sends before it ends."""
    reconnect_spread: Seconds = 3.0
    """Clients of a draining server are told to come back after a random time up to this."""
    user_message_rate: Seconds = 100.0
    """Messages, edits and reactions a second of one user; 0: no limit."""
    user_message_burst: float = Field(500.0, ge=1)
    """So many at once after a pause."""
    conversation_message_rate: Seconds = 1000.0
    """The same of all users together in one conversation; 0: no limit."""
    conversation_message_burst: float = Field(2000.0, ge=1)
    """So many at once after a pause."""
    person_key_file: FilePath | None = None
    """Keys of 32 bytes as hexadecimal text, one a line: the first wraps the keys of persons that are made, all open them. What people say
    is sealed with their keys, and erased with them. Absent: contents are not sealed, and nobody is erased. The same for all processes."""
    presence_beat: Seconds = Field(1.0, ge=0.05, le=10.0)
    """Chat's processes tell each other so often that they live; one is missed after three and a half of it. The same for all processes."""
    typing_lasts: Seconds = Field(6.0, ge=1.0, le=30.0)
    """Who types does so for so long, unless it says so again."""
    typing_watched: int = Field(50_000, ge=1)
    """Conversations in which all streams of this process together may watch who types, counted once for each stream."""
    presence_people: int = Field(500_000, ge=1)
    """Users that this process may hold who are online or away; each is held by two processes."""
    presence_watched: int = Field(2_000_000, ge=1)
    """Users whose presence all streams of this process together may watch, counted once for each stream."""
    search: Literal["off", "reading", "embedded"] = "embedded"
    """Where what was said is searched: nowhere, or in an index of this machine that its processes share. One of those that are not only
    ``reading`` follows the log."""
    search_folder: Path | None = None
    """Where that index is; absent: in the folder ``search`` beside the store's file."""
    inbox_conversations: int = Field(10_000, ge=1, le=100_000)
    """Of a user's conversations so many, the newest by creation, are in its inbox."""
    inbox_streams: int = Field(20_000, ge=1)
    """Streams of inboxes and of receipts that this process serves at a time."""
    inbox_interval: Seconds = 0.3
    """A stream of an inbox or of receipts gives at most one frame in such a time."""
    inbox_survey: Seconds = 60.0
    """Such a stream looks so often, give or take a quarter, for what it was not told: words between processes may be lost."""
    message_hooks: dict[str, MessageHook] = Field(default_factory=dict)
    """By tenant, where it serves ``MessageHookService`` and looks at messages before they are decided; as JSON, or a table of the file."""
    push_gateway: Address | None = None
    """Where the push gateway listens; absent: nobody is told by push."""
    push_after: Seconds = Field(5.0, ge=0.05)
    """Members who are away are told of a message so much later, unless they have read it by then."""
    push_every: Seconds = Field(30.0, ge=0.05)
    """And not more often than so, of one conversation."""
    push_retry: Seconds = Field(5.0, ge=0.05)
    """What the gateway did not take is tried again so much later, then after twice as long, and so on up to five minutes."""
    push_members: int = Field(1000, ge=2, le=5000)
    """In groups of more members, and in channels, only those are told whom a message mentions by name."""
    push_previews: bool = True
    """Notifications say what was said, for users who do not wish otherwise."""
    order_events: bool = True
    """Open the conversations of orders: consume Order's log. Off where no Order service is deployed."""
