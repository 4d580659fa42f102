"""Keeping order: bans and mutes, and what is decided about them."""

from __future__ import annotations

from collections.abc import Sequence

from services.chat.domain.commands import Ban, Mute, Unban, Unmute
from services.chat.domain.conversation import Conversation, Profile
from services.chat.domain.events import Event, MemberBanned, MemberMuted, MembersRemoved, MemberUnbanned, MemberUnmuted
from services.chat.domain.membership import no_such_member, owner_remains
from services.chat.domain.permissions import Permission, lacking, require, require_rank
from services.chat.domain.sanctions import room_for


def ban(state: Conversation, command: Ban) -> Sequence[Event]:
    """Keep a user out; a member is removed first, so that whoever follows the events sees it go."""
    permission = Permission.BAN_MEMBERS
    profile = require(state, command.actor, permission, oversees=command.oversees)
    _not_itself(profile, command.actor, command.user_id, permission)
    events: list[Event] = []
    who = (command.at_us, command.actor, command.acting_service)
    member = profile.members.get(command.user_id)
    if member is not None:
        require_rank(profile, command.actor, member.role, permission, oversees=command.oversees)
        owner_remains(profile, {command.user_id})
        events.append(MembersRemoved(*who, (command.user_id,)))
    if profile.bans.get(command.user_id) != command.until_us:
        room_for(profile.bans, command.user_id, command.at_us)
        events.append(MemberBanned(*who, command.user_id, command.until_us))
    return events


def unban(state: Conversation, command: Unban) -> Sequence[Event]:
    """Let a user in again."""
    profile = require(state, command.actor, Permission.BAN_MEMBERS, oversees=command.oversees)
    if command.user_id not in profile.bans:
        return ()
    return (MemberUnbanned(command.at_us, command.actor, command.acting_service, command.user_id),)


def mute(state: Conversation, command: Mute) -> Sequence[Event]:
    """Take the word from a member."""
    permission = Permission.MUTE_MEMBERS
    profile = require(state, command.actor, permission, oversees=command.oversees)
    _not_itself(profile, command.actor, command.user_id, permission)
    member = profile.members.get(command.user_id)
    if member is None:
        raise no_such_member()
    require_rank(profile, command.actor, member.role, permission, oversees=command.oversees)
    if profile.mutes.get(command.user_id) == command.until_us:
        return ()
    room_for(profile.mutes, command.user_id, command.at_us)
    return (MemberMuted(command.at_us, command.actor, command.acting_service, command.user_id, command.until_us),)


def unmute(state: Conversation, command: Unmute) -> Sequence[Event]:
    """Give the word back."""
    permission = Permission.MUTE_MEMBERS
    profile = require(state, command.actor, permission, oversees=command.oversees)
    if command.user_id not in profile.mutes:
        return ()
    if not command.oversees:
        _not_itself(profile, command.actor, command.user_id, permission)
    return (MemberUnmuted(command.at_us, command.actor, command.acting_service, command.user_id),)


def _not_itself(profile: Profile, actor: str, user_id: str, permission: Permission) -> None:
    if actor == user_id and actor in profile.members:
        raise lacking(permission, profile.members[actor].role, "nobody does this to itself")
