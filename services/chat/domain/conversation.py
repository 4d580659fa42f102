"""What a conversation is at a version, and what each event makes of it.

The state is two layers. What a message changes (version and time) lies on top and is made anew for each; what only a
change of membership changes lies below and is shared by all states in between. So a message costs the same in a group of
5,000 as between two.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from services.chat.domain.events import (
    ConversationCreated,
    Event,
    Kind,
    MembersAdded,
    MembersRemoved,
    MessageSent,
    Role,
    SystemMessagePosted,
)

MAX_MEMBERS: Final = 5_000
MAX_RANGES: Final = 4_096
_NO_VERSION: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Member:
    """One member."""

    role: Role
    since_version: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What only rare events change; never mutated, so that states share it."""

    kind: Kind
    title: str
    attributes: dict[str, str]
    created_us: int
    members: dict[str, Member]
    silent: tuple[tuple[int, int], ...]
    """Versions that are no messages, as ascending ranges, both ends included; the latest ``MAX_RANGES`` of them."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation at a version; without a profile where none was ever created."""

    version: int = 0
    updated_us: int = 0
    profile: Profile | None = None


def initial() -> Conversation:
    """Give what stands where nothing was ever written."""
    return _NOTHING


_NOTHING: Final = Conversation()


def is_member(state: Conversation, user_id: str) -> bool:
    """Tell whether a user is in the conversation."""
    return state.profile is not None and user_id in state.profile.members


def is_message(state: Conversation, version: int) -> bool:
    """Tell whether a version is a message, of a person or of the system.

    Everything but a change of membership is one, so remembering the changes suffices; of more than ``MAX_RANGES`` runs of
    changes the oldest are forgotten, and an answer to one of those is let through rather than an honest one refused.
    """
    if state.profile is None or not 0 < version <= state.version:
        return False
    at = bisect_right(state.profile.silent, (version, _NO_VERSION))
    return at == 0 or state.profile.silent[at - 1][1] < version


def direct_id(tenant: str, one: str, other: str) -> str:
    """Give the id of the one conversation of two users, the same from either side."""
    digest = hashlib.sha256()
    for part in (tenant, *sorted((one, other))):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return f"direct-{digest.hexdigest()[:40]}"


def evolve(state: Conversation, event: Event) -> Conversation:
    """Give the state after an event."""
    version = state.version + 1
    profile = state.profile
    if type(event) is MessageSent or type(event) is SystemMessagePosted:
        return Conversation(version, event.at_us, profile)
    if isinstance(event, ConversationCreated):
        members = _joined({}, event.members, version)
        created = Profile(event.kind, event.title, dict(event.attributes), event.at_us, members, ((version, version),))
        return Conversation(version, event.at_us, created)
    if profile is None:
        raise ValueError("a conversation begins with its creation")
    if isinstance(event, MembersAdded):
        members = _joined(profile.members, event.members, version)
    elif isinstance(event, MembersRemoved):
        gone = set(event.user_ids)
        members = {user_id: member for user_id, member in profile.members.items() if user_id not in gone}
    else:
        raise TypeError(f"no event of a conversation: {type(event).__name__}")
    changed = replace(profile, members=members, silent=_with(profile.silent, version))
    return Conversation(version, event.at_us, changed)


def _joined(members: Mapping[str, Member], new: Iterable[tuple[str, Role]], version: int) -> dict[str, Member]:
    return {**members, **{user_id: Member(role, version) for user_id, role in new}}


def _with(ranges: tuple[tuple[int, int], ...], version: int) -> tuple[tuple[int, int], ...]:
    if ranges and ranges[-1][1] == version - 1:
        return (*ranges[:-1], (ranges[-1][0], version))
    return (*ranges[-MAX_RANGES + 1 :], (version, version))
