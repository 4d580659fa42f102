"""What can be asked of a conversation. Who asks was verified before; what it may do, the decision tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from services.chat.domain.events import Kind, Role
from services.chat.domain.refusals import Refused


@dataclass(frozen=True, slots=True)
class Asked:
    """What most commands have. ``oversees``: the actor need not be in the conversation, nor hold a role there."""

    at_us: int
    actor: str
    oversees: bool = field(default=False, kw_only=True)
    acting_service: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class CreateConversation(Asked):
    """Begin. ``members`` in order of joining; an existing conversation is met (answered as it is) or in the way."""

    kind: Kind
    members: tuple[tuple[str, Role], ...]
    title: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    picture: str = ""
    open: bool = False
    slow_mode_s: int = 0
    meets_existing: bool = False
    message_ttl_s: int = 0


@dataclass(frozen=True, slots=True)
class ChangeConversation(Asked):
    """Call it or set it otherwise; None stays as it is."""

    title: str | None = None
    picture: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    remove_attributes: tuple[str, ...] = ()
    open: bool | None = None
    slow_mode_s: int | None = None
    message_ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class AddMembers(Asked):
    """Let users in."""

    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Join(Asked):
    """Come in by oneself, where it is open."""


@dataclass(frozen=True, slots=True)
class RemoveMembers(Asked):
    """Let users go."""

    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetRole(Asked):
    """Give a member another role."""

    user_id: str
    role: Role


@dataclass(frozen=True, slots=True)
class Ban(Asked):
    """Keep a user out; ``until_us`` 0: for ever."""

    user_id: str
    until_us: int = 0


@dataclass(frozen=True, slots=True)
class Unban(Asked):
    """Let a user in again."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Mute(Asked):
    """Take the word from a member; ``until_us`` 0: for ever."""

    user_id: str
    until_us: int = 0


@dataclass(frozen=True, slots=True)
class Unmute(Asked):
    """Give it back."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Known:
    """What was looked up of messages that change: facts by name, as they were at a version or later. See ``recent``."""

    at_version: int = 0
    facts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """What never changes about a message that a command is about; ``sender`` is empty for a system message, ``expires_us`` 0 where
    it lasts.
    """

    version: int
    sender: str
    thread_root: int = 0
    expires_us: int = 0


@dataclass(frozen=True, slots=True)
class EditMessage(Asked):
    """Say something else; ``target`` None: there is no such message."""

    target: Target | None
    content: bytes
    known: Known = Known()


@dataclass(frozen=True, slots=True)
class DeleteMessage(Asked):
    """Take a message back, or away. ``moderates``: those who moderate the tenant do, who need no permission in the conversation.

    ``reads``: the actor was looked up to be a reader of the channel, who takes back what it said as a member, and knows what is no message.
    """

    target: Target | None
    known: Known = Known()
    moderates: bool = False
    reads: bool = False


@dataclass(frozen=True, slots=True)
class PinMessage(Asked):
    """Pin a message."""

    target: Target | None
    known: Known = Known()


@dataclass(frozen=True, slots=True)
class UnpinMessage(Asked):
    """Pin it no more."""

    version: int


@dataclass(frozen=True, slots=True)
class React(Asked):
    """Give a message an emoji, or take it back. ``reads``: the actor was looked up to be a reader of the channel."""

    target: Target | None
    emoji: str
    remove: bool = False
    reads: bool = False
    known: Known = Known()


@dataclass(frozen=True, slots=True)
class CreateInvitation(Asked):
    """Let whoever holds a token come in, of which ``digest`` is kept; ``until_us`` 0: for ever, ``max_uses`` 0: any number."""

    invitation_id: str
    digest: str
    role: Role
    until_us: int = 0
    max_uses: int = 0


@dataclass(frozen=True, slots=True)
class RevokeInvitation(Asked):
    """Take an invitation back."""

    invitation_id: str


@dataclass(frozen=True, slots=True)
class JoinByInvitation(Asked):
    """Come in by an invitation. ``reads``: the actor was looked up to be a reader of the channel."""

    digest: str
    reads: bool = False


class Due(NamedTuple):
    """A message that was looked up to have ended by now."""

    version: int
    sender: str
    thread_root: int
    expires_us: int


@dataclass(frozen=True, slots=True)
class ExpireMessages:
    """Let messages be no more whose time is over. ``due``: those that were looked up at a version; ``rest_us``: when the first of all
    others ends, 0 where there was none.
    """

    at_us: int
    due: tuple[Due, ...]
    rest_us: int
    looked_at_version: int
    known: Known = Known()


class Said(NamedTuple):
    """What of a message that is to be sent matters beside its content. ``root``: whose thread it is for, None where there is none such."""

    thread_root: int = 0
    root: Target | None = None
    mentions: tuple[str, ...] = ()
    to_all: bool = False
    known: Known = Known()
    expire_after_us: int = 0
    attachments: tuple[str, ...] = ()
    missing_attachment: str = ""
    """The first of them that cannot be sent."""
    here: tuple[str, ...] | None = None
    """Members who are online, where those alone are mentioned; as ``to_all`` it needs a permission."""


class SendMessage(NamedTuple):
    """Say something. ``content`` is carried as it is; what of it matters here stands beside it.

    ``unknown_reply``: a version it answers that was looked up and is no message; 0: there is none. What is a message stays one, and what
    is none stays none, so a look-up beforehand is as good as one here.
    """

    at_us: int
    actor: str
    content: bytes
    unknown_reply: int = 0
    oversees: bool = False
    acting_service: str = ""
    said: Said | None = None


@dataclass(frozen=True, slots=True)
class Withheld:
    """What was refused before it came here: it is refused, unless it was done before under the same request id.

    ``outright``: whatever else speaks against it; what does comes first as a rule.
    """

    command: SendMessage | EditMessage
    refusal: Refused
    outright: bool = False

    @property
    def at_us(self) -> int:
        """When it was asked for."""
        return self.command.at_us


@dataclass(frozen=True, slots=True)
class PostSystemMessage:
    """A service's word; no member says it."""

    at_us: int
    code: str
    text: str
    attributes: Mapping[str, str]
    acting_service: str = ""


Command = (
    CreateConversation
    | ChangeConversation
    | AddMembers
    | Join
    | RemoveMembers
    | SetRole
    | Ban
    | Unban
    | Mute
    | Unmute
    | EditMessage
    | DeleteMessage
    | PinMessage
    | UnpinMessage
    | React
    | CreateInvitation
    | RevokeInvitation
    | JoinByInvitation
    | ExpireMessages
    | SendMessage
    | PostSystemMessage
    | Withheld
)
