"""Invitations: who makes them and who comes in by them; what is decided about it.

How often one was used stands in the conversation's own state, so its last use is given once, whoever else asks at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.chat.domain.commands import CreateInvitation, JoinByInvitation, RevokeInvitation
from services.chat.domain.conversation import MAX_INVITATIONS, Conversation, Invitation, Profile, ended
from services.chat.domain.events import Event, InvitationCreated, InvitationRevoked, InvitationUsed, Kind, Role
from services.chat.domain.membership import let_in
from services.chat.domain.permissions import Permission, require
from services.chat.domain.refusals import Refused
from services.chat.domain.sanctions import not_banned

_MESSAGES = {
    "INVITATION_REVOKED": "the invitation was taken back",
    "INVITATION_EXPIRED": "the invitation's time is over",
    "INVITATION_USED_UP": "as many as the invitation was for have joined by it",
}


def create(state: Conversation, command: CreateInvitation) -> Sequence[Event]:
    """Make one."""
    profile = require(state, command.actor, Permission.INVITE, oversees=command.oversees)
    if command.digest in profile.invitations:
        return ()
    if command.role not in (Role.MEMBER, Role.READER):
        raise Refused("INVALID_FIELD", "one is invited as a member or as a reader", field="role")
    lasting = sum(1 for each in profile.invitations.values() if not ended(each, command.at_us))
    if lasting >= MAX_INVITATIONS:
        raise Refused(
            "INVITATIONS_LIMIT", f"at most {MAX_INVITATIONS} last at a time", metadata={"limit": str(MAX_INVITATIONS)}
        )
    return (
        InvitationCreated(
            command.at_us,
            command.actor,
            command.acting_service,
            command.invitation_id,
            command.digest,
            command.role,
            command.until_us,
            command.max_uses,
        ),
    )


def revoke(state: Conversation, command: RevokeInvitation) -> Sequence[Event]:
    """Take one back; one that is over is as wanted."""
    profile = require(state, command.actor, Permission.INVITE, oversees=command.oversees)
    found = next((each for each in profile.invitations.values() if each.id == command.invitation_id), None)
    if found is None:
        raise no_such_invitation()
    if found.revoked:
        return ()
    return (InvitationRevoked(command.at_us, command.actor, command.acting_service, found.id),)


def join(state: Conversation, command: JoinByInvitation) -> Sequence[Event]:
    """Come in; who is in already uses nothing. A channel's reader comes in by an event of its own, after this one."""
    profile, invitation = invited(state, command.digest)
    if is_in(profile, invitation, command.actor, reads=command.reads):
        return ()
    usable(profile, invitation, command.actor, command.at_us)
    who = (command.at_us, command.actor, command.acting_service)
    used = InvitationUsed(*who, invitation.id, invitation.uses + 1)
    if places_reader(profile, invitation):
        return (used,)
    return (used, *let_in(profile, command, (command.actor,), invitation.role))


def is_invited(state: Conversation, digest: str) -> bool:
    """Tell whether a digest is of an invitation that is kept."""
    return state.profile is not None and digest in state.profile.invitations


def invited(state: Conversation, digest: str) -> tuple[Profile, Invitation]:
    """Give the conversation and the invitation that a digest is of. Raises Refused (NOT_FOUND)."""
    profile = state.profile
    invitation = profile.invitations.get(digest) if profile is not None else None
    if profile is None or invitation is None:
        raise no_such_invitation()
    return profile, invitation


def usable(profile: Profile, invitation: Invitation, user_id: str, at_us: int) -> None:
    """Raise Refused where a user cannot come in by an invitation now: BANNED, INVITATION_REVOKED, _EXPIRED, _USED_UP."""
    not_banned(profile, user_id, at_us)
    reason = ended(invitation, at_us)
    if reason:
        raise Refused(reason, _MESSAGES[reason])


def is_in(profile: Profile, invitation: Invitation, user_id: str, *, reads: bool) -> bool:
    """Tell whether a user is already what an invitation makes of it, or more."""
    return user_id in profile.members or (reads and places_reader(profile, invitation))


def places_reader(profile: Profile, invitation: Invitation) -> bool:
    """Tell whether who comes in by it becomes a channel's reader, who is in no list of members."""
    return profile.kind is Kind.CHANNEL and invitation.role is Role.READER


def no_such_invitation() -> Refused:
    """Refuse what is no invitation, without telling more."""
    return Refused("NOT_FOUND", "no such invitation")
