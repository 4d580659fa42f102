"""Who may what: one table of conversation kind, role and permission, and the one function that asks it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from services.chat.domain.conversation import Conversation, Profile
from services.chat.domain.events import Kind, Role
from services.chat.domain.refusals import Refused, Unseen, not_a_member, not_found


class Permission(StrEnum):
    """What a role may be allowed; these names stand in refusals and in docs/chat.md."""

    READ = "read"
    POST = "post"
    MENTION_ALL = "mention_all"
    EDIT_OWN = "edit_own"
    DELETE_OWN = "delete_own"
    DELETE_ANY = "delete_any"
    PIN = "pin"
    REACT = "react"
    PRESS_ACTION = "press_action"
    LEAVE = "leave"
    SKIP_SLOW_MODE = "skip_slow_mode"
    ADD_MEMBERS = "add_members"
    INVITE = "invite"
    REMOVE_MEMBERS = "remove_members"
    BAN_MEMBERS = "ban_members"
    MUTE_MEMBERS = "mute_members"
    SET_ROLES = "set_roles"
    CHANGE_PROFILE = "change_profile"
    CHANGE_SETTINGS = "change_settings"
    EXPORT = "export"


_P = Permission
_READER: Final = frozenset({_P.READ, _P.REACT, _P.PRESS_ACTION, _P.DELETE_OWN, _P.LEAVE})
_MEMBER: Final = _READER | {_P.POST, _P.EDIT_OWN}
_MODERATOR: Final = _MEMBER | {
    _P.MENTION_ALL,
    _P.DELETE_ANY,
    _P.PIN,
    _P.SKIP_SLOW_MODE,
    _P.ADD_MEMBERS,
    _P.INVITE,
    _P.REMOVE_MEMBERS,
    _P.BAN_MEMBERS,
    _P.MUTE_MEMBERS,
}
_ADMIN: Final = _MODERATOR | {_P.SET_ROLES, _P.CHANGE_PROFILE, _P.CHANGE_SETTINGS}
_OWNER: Final = _ADMIN | {_P.EXPORT}
_MANY: Final = {
    Role.OWNER: _OWNER,
    Role.ADMIN: _ADMIN,
    Role.MODERATOR: _MODERATOR,
    Role.MEMBER: _MEMBER,
    Role.READER: _READER,
}

TABLE: Final[Mapping[Kind, Mapping[Role, frozenset[Permission]]]] = {
    # Both of a direct conversation are owners of it, for ever.
    Kind.DIRECT: {
        Role.OWNER: frozenset(
            {_P.READ, _P.POST, _P.EDIT_OWN, _P.DELETE_OWN, _P.PIN, _P.REACT, _P.PRESS_ACTION, _P.EXPORT}
        )
    },
    Kind.GROUP: _MANY,
    Kind.CHANNEL: _MANY,
}
"""What each role may in each kind of conversation; a role that is missing does not occur there."""

OVERSEER: Final = frozenset(
    {
        _P.READ,
        _P.DELETE_ANY,
        _P.PIN,
        _P.ADD_MEMBERS,
        _P.INVITE,
        _P.REMOVE_MEMBERS,
        _P.BAN_MEMBERS,
        _P.MUTE_MEMBERS,
        _P.SET_ROLES,
        _P.CHANGE_PROFILE,
        _P.CHANGE_SETTINGS,
        _P.EXPORT,
    }
)
"""What whoever oversees the tenant may in every conversation that knows the permission, without being in it."""

_OFFERED: Final[Mapping[Kind, frozenset[Permission]]] = {
    kind: frozenset(each for role in roles.values() for each in role) for kind, roles in TABLE.items()
}
_RANK: Final = {Role.OWNER: 5, Role.ADMIN: 4, Role.MODERATOR: 3, Role.MEMBER: 2, Role.READER: 1}


def permissions(kind: Kind, role: Role) -> frozenset[Permission]:
    """Give what a role may in a kind of conversation."""
    return TABLE[kind].get(role, frozenset())


def require(state: Conversation, actor: str, permission: Permission, *, oversees: bool = False) -> Profile:
    """Give the profile of a conversation in which the actor may do something.

    Raises Refused: NOT_FOUND to a stranger, NOT_A_MEMBER to an overseer who must be a member for it, WRONG_CONVERSATION_KIND where nobody
    may, FORBIDDEN where others may.
    """
    profile = state.profile
    if profile is None:
        raise not_found()
    member = profile.members.get(actor)
    if member is None and not oversees:
        raise stranger(profile, permission)
    if permission not in _OFFERED[profile.kind]:
        raise Refused(
            "WRONG_CONVERSATION_KIND",
            "nobody may do this in a conversation of this kind",
            metadata={"permission": permission.value, "kind": profile.kind.value},
        )
    if oversees and permission in OVERSEER:
        return profile
    if member is None:
        raise not_a_member(permission.value)
    if permission not in permissions(profile.kind, member.role):
        raise lacking(permission, member.role)
    return profile


def stranger(profile: Profile | None, permission: Permission) -> Refused:
    """Refuse one who is not in it: of what is open to all it may know, of all else nothing. A channel's reader is known to others."""
    if profile is None:
        return not_found()
    if not profile.open:
        return Unseen(permission.value) if profile.kind is Kind.CHANNEL else not_found()
    return lacking(permission, Role.READER) if profile.kind is Kind.CHANNEL else not_a_member(permission.value)


def lacking(permission: Permission, role: Role, message: str = "the role does not allow this") -> Refused:
    """Refuse one whose role does not allow it."""
    return Refused("FORBIDDEN", message, metadata={"permission": permission.value, "role": role.value})


def outranks(profile: Profile, actor: str, role: Role, *, oversees: bool) -> bool:
    """Tell whether the actor may act on members of a role, or give that role away."""
    if oversees:
        return True
    own = profile.members[actor].role
    return own is Role.OWNER or _RANK[own] > _RANK[role]


def require_rank(profile: Profile, actor: str, role: Role, permission: Permission, *, oversees: bool) -> None:
    """Raise Refused (FORBIDDEN) unless the actor stands above a role, or is an owner."""
    if not outranks(profile, actor, role, oversees=oversees):
        own = profile.members[actor].role
        raise lacking(permission, own, "only who stands above a member may act on it")
