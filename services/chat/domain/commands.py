"""What can be asked of a conversation. Who asks was verified before; what it may do, the decision tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.chat.domain.events import Kind, Role


@dataclass(frozen=True, slots=True)
class CreateConversation:
    """Begin. ``members`` in order of joining; an existing conversation is met (answered as it is) or in the way."""

    at_us: int
    actor: str
    kind: Kind
    members: tuple[tuple[str, Role], ...]
    title: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    meets_existing: bool = False
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class AddMembers:
    """Let users in. ``oversees``: the caller need not be an owner, nor in it."""

    at_us: int
    actor: str
    user_ids: tuple[str, ...]
    oversees: bool = False
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class RemoveMembers:
    """Let users go. ``oversees``: the caller need not be an owner, nor in it."""

    at_us: int
    actor: str
    user_ids: tuple[str, ...]
    oversees: bool = False
    acting_service: str = ""


class SendMessage(NamedTuple):
    """Say something. ``content`` is carried as it is; only ``reply_to``, which is part of it, is looked at."""

    at_us: int
    actor: str
    content: bytes
    reply_to: Sequence[int] = ()
    oversees: bool = False
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class PostSystemMessage:
    """A service's word; no member says it."""

    at_us: int
    code: str
    text: str
    attributes: Mapping[str, str]
    acting_service: str = ""


Command = CreateConversation | AddMembers | RemoveMembers | SendMessage | PostSystemMessage
