"""What can happen in a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a conversation is for."""

    DIRECT = "direct"
    GROUP = "group"


class Role(StrEnum):
    """What a member may do."""

    OWNER = "owner"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class ConversationCreated:
    """It began."""

    at_us: int
    actor: str
    acting_service: str
    kind: Kind
    title: str
    members: tuple[tuple[str, Role], ...]
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MembersAdded:
    """Members joined."""

    at_us: int
    actor: str
    acting_service: str
    members: tuple[tuple[str, Role], ...]


@dataclass(frozen=True, slots=True)
class MembersRemoved:
    """Members left or were removed."""

    at_us: int
    actor: str
    acting_service: str
    user_ids: tuple[str, ...]


class MessageSent(NamedTuple):
    """Somebody spoke."""

    at_us: int
    actor: str
    acting_service: str
    content: bytes


@dataclass(frozen=True, slots=True)
class SystemMessagePosted:
    """A service told the conversation something."""

    at_us: int
    acting_service: str
    code: str
    text: str
    attributes: Mapping[str, str]


Event = ConversationCreated | MembersAdded | MembersRemoved | MessageSent | SystemMessagePosted
