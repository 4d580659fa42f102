"""What can happen in a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a conversation is for."""

    DIRECT = "direct"
    GROUP = "group"
    CHANNEL = "channel"


class Role(StrEnum):
    """What a member may do: see ``permissions``."""

    OWNER = "owner"
    ADMIN = "admin"
    MODERATOR = "moderator"
    MEMBER = "member"
    READER = "reader"


@dataclass(frozen=True, slots=True)
class Happened:
    """What every event but a message has. ``messages``: how many messages of people there were by then."""

    at_us: int
    actor: str
    acting_service: str
    messages: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class ConversationCreated(Happened):
    """It began."""

    kind: Kind
    title: str
    members: tuple[tuple[str, Role], ...]
    attributes: Mapping[str, str]
    picture: str = ""
    open: bool = False
    slow_mode_s: int = 0
    message_ttl_s: int = 0


@dataclass(frozen=True, slots=True)
class ConversationChanged(Happened):
    """What it is called or how it is set changed; None stayed as it was."""

    title: str | None = None
    picture: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    removed_attributes: tuple[str, ...] = ()
    open: bool | None = None
    slow_mode_s: int | None = None
    message_ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class MembersAdded(Happened):
    """Members joined."""

    members: tuple[tuple[str, Role], ...]


@dataclass(frozen=True, slots=True)
class MembersRemoved(Happened):
    """Members left or were removed."""

    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberRoleChanged(Happened):
    """A member has another role."""

    user_id: str
    role: Role


@dataclass(frozen=True, slots=True)
class MemberBanned(Happened):
    """Somebody may not be in it; ``until_us`` 0: for ever."""

    user_id: str
    until_us: int


@dataclass(frozen=True, slots=True)
class MemberUnbanned(Happened):
    """Somebody may be in it again."""

    user_id: str


@dataclass(frozen=True, slots=True)
class MemberMuted(Happened):
    """Somebody may not speak; ``until_us`` 0: for ever."""

    user_id: str
    until_us: int


@dataclass(frozen=True, slots=True)
class MemberUnmuted(Happened):
    """Somebody may speak again."""

    user_id: str


@dataclass(frozen=True, slots=True)
class MessageEdited(Happened):
    """A message says something else; ``edits``: which edit of it this is."""

    version: int
    content: bytes
    edits: int


@dataclass(frozen=True, slots=True)
class MessageDeleted(Happened):
    """A message is no more, for everybody. ``thread_replies``: how many messages its thread has left."""

    version: int
    sender: str
    thread_root: int
    thread_replies: int


@dataclass(frozen=True, slots=True)
class MessagePinned(Happened):
    """A message was pinned."""

    version: int


@dataclass(frozen=True, slots=True)
class MessageUnpinned(Happened):
    """A message is pinned no more."""

    version: int


@dataclass(frozen=True, slots=True)
class ReactionAdded(Happened):
    """The actor gave a message an emoji: ``count`` give it now, and it has so many different ``emojis``."""

    version: int
    emoji: str
    count: int
    emojis: int


@dataclass(frozen=True, slots=True)
class ReactionRemoved(Happened):
    """The actor took an emoji back: ``count`` give it still, and it has so many different ``emojis``."""

    version: int
    emoji: str
    count: int
    emojis: int


@dataclass(frozen=True, slots=True)
class InvitationCreated(Happened):
    """There is an invitation; ``until_us`` 0: for ever, ``max_uses`` 0: any number."""

    invitation_id: str
    digest: str
    role: Role
    until_us: int
    max_uses: int


@dataclass(frozen=True, slots=True)
class InvitationRevoked(Happened):
    """An invitation was taken back."""

    invitation_id: str


@dataclass(frozen=True, slots=True)
class InvitationUsed(Happened):
    """The actor comes in by an invitation; it is its use number ``uses``."""

    invitation_id: str
    uses: int


class Expired(NamedTuple):
    """A message whose time was over. ``thread_replies``: how many messages its thread has left."""

    version: int
    sender: str
    thread_root: int
    thread_replies: int
    expires_us: int


@dataclass(frozen=True, slots=True)
class MessagesExpired(Happened):
    """Messages are no more, for everybody; ``next_us``: when to look for more, 0 where none waits."""

    messages_gone: tuple[Expired, ...]
    next_us: int


class About(NamedTuple):
    """What of a message matters beside its content: the thread it is in and how many it is there, whom it mentions, when it ends, and
    which attachments it names. ``here``: whom it mentions because they were online.
    """

    thread_root: int = 0
    thread_replies: int = 0
    mentions: tuple[str, ...] = ()
    to_all: bool = False
    expires_us: int = 0
    attachments: tuple[str, ...] = ()
    here: tuple[str, ...] = ()


class MessageSent(NamedTuple):
    """Somebody spoke. ``messages``: how many messages of people there were by then, this one included."""

    at_us: int
    actor: str
    acting_service: str
    content: bytes
    messages: int = 0
    about: About | None = None


@dataclass(frozen=True, slots=True)
class SystemMessagePosted:
    """A service told the conversation something."""

    at_us: int
    acting_service: str
    code: str
    text: str
    attributes: Mapping[str, str]
    messages: int = field(default=0, kw_only=True)


Event = (
    ConversationCreated
    | ConversationChanged
    | MembersAdded
    | MembersRemoved
    | MemberRoleChanged
    | MemberBanned
    | MemberUnbanned
    | MemberMuted
    | MemberUnmuted
    | MessageEdited
    | MessageDeleted
    | MessagePinned
    | MessageUnpinned
    | ReactionAdded
    | ReactionRemoved
    | InvitationCreated
    | InvitationRevoked
    | InvitationUsed
    | MessagesExpired
    | MessageSent
    | SystemMessagePosted
)
