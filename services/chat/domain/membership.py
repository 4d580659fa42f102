"""Who is in a conversation and in which role: what is decided about it."""

from __future__ import annotations

from collections.abc import Sequence

from services.chat.domain.commands import AddMembers, Asked, CreateConversation, Join, RemoveMembers, SetRole
from services.chat.domain.conversation import MAX_MEMBERS, Conversation, Profile
from services.chat.domain.events import (
    ConversationCreated,
    Event,
    Kind,
    MemberRoleChanged,
    MembersAdded,
    MembersRemoved,
    Role,
)
from services.chat.domain.permissions import Permission, require, require_rank
from services.chat.domain.refusals import Refused, not_found
from services.chat.domain.sanctions import not_banned


def create(state: Conversation, command: CreateConversation) -> Sequence[Event]:
    """Begin."""
    if state.profile is not None:
        if command.meets_existing:
            return ()
        raise Refused("ALREADY_EXISTS", "there is another conversation under this id")
    ids = [user_id for user_id, _ in command.members]
    if len(set(ids)) != len(ids) or not ids:
        raise Refused("INVALID_FIELD", "members must be named, each once", field="member_ids")
    if command.kind is Kind.DIRECT and len(ids) != 2:
        raise Refused("INVALID_FIELD", "a direct conversation is between two different people", field="member_ids")
    if command.kind is Kind.DIRECT and (command.open or command.slow_mode_s):
        raise Refused("INVALID_FIELD", "a direct conversation is neither open nor slow", field="open")
    if len(ids) > MAX_MEMBERS:
        raise _too_many(len(ids))
    return (
        ConversationCreated(
            command.at_us,
            command.actor,
            command.acting_service,
            command.kind,
            command.title,
            command.members,
            dict(command.attributes),
            command.picture,
            command.open,
            command.slow_mode_s,
            command.message_ttl_s,
        ),
    )


def add(state: Conversation, command: AddMembers) -> Sequence[Event]:
    """Let users in."""
    profile = require(state, command.actor, Permission.ADD_MEMBERS, oversees=command.oversees)
    new = tuple(user_id for user_id in dict.fromkeys(command.user_ids) if user_id not in profile.members)
    for user_id in new:
        not_banned(profile, user_id, command.at_us)
    return let_in(profile, command, new)


def join(state: Conversation, command: Join) -> Sequence[Event]:
    """Come in by oneself."""
    profile = state.profile
    if profile is None:
        raise not_found()
    if command.actor in profile.members:
        return ()
    if not profile.open or profile.kind is not Kind.GROUP:
        raise not_found()
    not_banned(profile, command.actor, command.at_us)
    return let_in(profile, command, (command.actor,))


def let_in(profile: Profile, command: Asked, new: tuple[str, ...], role: Role = Role.MEMBER) -> Sequence[Event]:
    """Let users in who are not in it. Raises Refused (MEMBERS_LIMIT)."""
    if not new:
        return ()
    if len(profile.members) + len(new) > MAX_MEMBERS:
        raise _too_many(len(profile.members) + len(new))
    members = tuple((user_id, role) for user_id in new)
    return (MembersAdded(command.at_us, command.actor, command.acting_service, members),)


def remove(state: Conversation, command: RemoveMembers) -> Sequence[Event]:
    """Let users go; leaving is removing oneself."""
    itself = set(command.user_ids) == {command.actor}
    permission = Permission.LEAVE if itself else Permission.REMOVE_MEMBERS
    if itself and command.oversees and state.profile is not None and command.actor not in state.profile.members:
        return ()  # it is not in it, and may know that
    profile = require(state, command.actor, permission, oversees=command.oversees)
    gone = tuple(user_id for user_id in dict.fromkeys(command.user_ids) if user_id in profile.members)
    if not gone:
        return ()
    for user_id in gone:
        if user_id != command.actor:
            require_rank(profile, command.actor, profile.members[user_id].role, permission, oversees=command.oversees)
    owner_remains(profile, set(gone))
    return (MembersRemoved(command.at_us, command.actor, command.acting_service, gone),)


def set_role(state: Conversation, command: SetRole) -> Sequence[Event]:
    """Give a member another role."""
    permission = Permission.SET_ROLES
    profile = require(state, command.actor, permission, oversees=command.oversees)
    member = profile.members.get(command.user_id)
    if member is None:
        raise no_such_member()
    if profile.kind is Kind.CHANNEL and command.role is Role.READER:
        raise Refused("INVALID_FIELD", "a channel's readers join by themselves", field="role")
    if member.role is command.role:
        return ()
    if command.user_id != command.actor:
        require_rank(profile, command.actor, member.role, permission, oversees=command.oversees)
    require_rank(profile, command.actor, command.role, permission, oversees=command.oversees)
    if command.role is not Role.OWNER:
        owner_remains(profile, {command.user_id})
    return (MemberRoleChanged(command.at_us, command.actor, command.acting_service, command.user_id, command.role),)


def no_such_member() -> Refused:
    """Refuse to change one who is not there."""
    return Refused("NO_SUCH_MEMBER", "the user is no member of the conversation", field="user_id")


def owner_remains(profile: Profile, leaving: set[str]) -> None:
    """Raise Refused (LAST_OWNER) where these are all owners there are."""
    if not any(m.role is Role.OWNER and user_id not in leaving for user_id, m in profile.members.items()):
        raise Refused("LAST_OWNER", "the last owner cannot leave, be removed or get another role")


def _too_many(count: int) -> Refused:
    return Refused(
        "MEMBERS_LIMIT",
        f"a conversation has at most {MAX_MEMBERS} members",
        metadata={"limit": str(MAX_MEMBERS), "wanted": str(count)},
    )
