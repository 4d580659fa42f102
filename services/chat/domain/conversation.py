"""What a conversation is at a version, and what each event makes of it.

The state is two layers. What a message changes lies on top and is made anew for each; what only rarer events change lies below and is
shared by all states in between. So a message costs the same in a group of 5,000 as between two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from services.chat.domain.events import (
    About,
    ConversationChanged,
    ConversationCreated,
    Event,
    InvitationCreated,
    InvitationRevoked,
    InvitationUsed,
    Kind,
    MemberBanned,
    MemberMuted,
    MemberRoleChanged,
    MembersAdded,
    MembersRemoved,
    MemberUnbanned,
    MemberUnmuted,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessageSent,
    MessagesExpired,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    Role,
    SystemMessagePosted,
)
from services.chat.domain.recent import NOTHING_RECENT, Recent, deleted, edits, emojis, given, gives, noted, replies
from services.chat.domain.senders import NOBODY, Senders, forgotten, spoken

MAX_MEMBERS: Final = 5_000
MAX_ATTRIBUTES: Final = 16


@dataclass(frozen=True, slots=True)
class Member:
    """One member. ``since_messages``: how many messages there were before it came."""

    role: Role
    since_version: int
    since_messages: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation. ``until_us`` 0: for ever, ``max_uses`` 0: any number."""

    id: str
    role: Role
    creator: str
    created_us: int
    until_us: int
    max_uses: int
    uses: int = 0
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Expiring:
    """When the first message ends, 0 where none does, and the last message that was said not to last."""

    next_us: int
    last_version: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What only rare events change; never mutated, so that states share it.

    ``bans`` and ``mutes``: user to the time (µs since the Unix epoch) until which it lasts, 0 for ever; what is over goes
    with the next one. ``invitations``: by the digest of what opens them, oldest first.
    """

    kind: Kind
    title: str
    attributes: dict[str, str]
    created_us: int
    members: dict[str, Member]
    picture: str
    open: bool
    slow_mode_s: int
    bans: dict[str, int]
    mutes: dict[str, int]
    pins: tuple[int, ...]
    message_ttl_s: int
    invitations: dict[str, Invitation]


@dataclass(slots=True)
class Conversation:
    """A conversation at a version; without a profile where none was ever created.

    ``messages``: how many messages people sent, whatever became of them. ``recent``: what changed of messages lately. Snapshots that lack
    a field are of an earlier release, and count no more.
    It is never changed once made; that it is not frozen only makes it cheaper to make.
    """

    version: int
    updated_us: int
    messages: int
    senders: Senders
    profile: Profile | None
    recent: Recent
    expiring: Expiring


def initial() -> Conversation:
    """Give what stands where nothing was ever written."""
    return _NOTHING


_NOTHING: Final = Conversation(0, 0, 0, NOBODY, None, NOTHING_RECENT, Expiring(0, 0))


def is_member(state: Conversation, user_id: str) -> bool:
    """Tell whether a user is in the conversation; a channel's readers are not."""
    return state.profile is not None and user_id in state.profile.members


def lasts(sanctions: Mapping[str, int], user_id: str, at_us: int) -> bool:
    """Tell whether a ban or a mute of a user lasts at a time."""
    until_us = sanctions.get(user_id)
    return until_us is not None and (until_us == 0 or until_us > at_us)


def lasting(sanctions: Mapping[str, int], at_us: int) -> dict[str, int]:
    """Give the bans or mutes that last at a time."""
    return {user_id: until_us for user_id, until_us in sanctions.items() if until_us == 0 or until_us > at_us}


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
    if type(event) is MessageSent:
        senders = spoken(state.senders, event.actor, version, event.at_us)
        recent, expiring = state.recent, state.expiring
        if event.about is not None:
            recent = noted(recent, _threads(event.about), version)
            expiring = _sooner(expiring, event.about.expires_us, version)
        return Conversation(version, event.at_us, state.messages + 1, senders, state.profile, recent, expiring)
    if type(event) is SystemMessagePosted:
        return Conversation(
            version, event.at_us, state.messages, state.senders, state.profile, state.recent, state.expiring
        )
    if isinstance(event, ConversationCreated):
        profile = _created(event, version, state.messages)
        return Conversation(version, event.at_us, state.messages, state.senders, profile, state.recent, state.expiring)
    if state.profile is None:
        raise ValueError("a conversation begins with its creation")
    senders, recent, expiring = state.senders, state.recent, state.expiring
    if isinstance(event, MembersRemoved):
        senders = forgotten(senders, event.user_ids)
    elif isinstance(event, MessagesExpired):
        recent = noted(recent, _expired(event), version)
        expiring = Expiring(event.next_us, expiring.last_version)
    elif isinstance(event, MessageEdited | MessageDeleted | ReactionAdded | ReactionRemoved):
        recent = noted(recent, _amended(event), version)
    profile = _changed(state.profile, event, version, state.messages)
    return Conversation(version, event.at_us, state.messages, senders, profile, recent, expiring)


def _sooner(expiring: Expiring, expires_us: int, version: int) -> Expiring:
    if not expires_us:
        return expiring
    return Expiring(min(expiring.next_us or expires_us, expires_us), version)


def _expired(event: MessagesExpired) -> dict[str, int]:
    facts = {}
    for gone in event.messages_gone:
        facts[deleted(gone.version)] = 1
        if gone.thread_root:
            facts[replies(gone.thread_root)] = gone.thread_replies
    return facts


def _threads(about: About) -> dict[str, int]:
    return {replies(about.thread_root): about.thread_replies} if about.thread_root else {}


def _amended(event: MessageEdited | MessageDeleted | ReactionAdded | ReactionRemoved) -> dict[str, int]:
    if isinstance(event, MessageEdited):
        return {edits(event.version): event.edits}
    if isinstance(event, ReactionAdded | ReactionRemoved):
        return {
            gives(event.version, event.emoji, event.actor): int(isinstance(event, ReactionAdded)),
            given(event.version, event.emoji): event.count,
            emojis(event.version): event.emojis,
        }
    facts = {deleted(event.version): 1}
    if event.thread_root:
        facts[replies(event.thread_root)] = event.thread_replies
    return facts


def _created(event: ConversationCreated, version: int, messages: int) -> Profile:
    return Profile(
        event.kind,
        event.title,
        dict(event.attributes),
        event.at_us,
        _joined({}, event.members, version, messages),
        event.picture,
        event.open,
        event.slow_mode_s,
        {},
        {},
        (),
        event.message_ttl_s,
        {},
    )


def _changed(profile: Profile, event: Event, version: int, messages: int) -> Profile:
    match event:
        case ReactionAdded() | ReactionRemoved():
            return profile
        case MessageEdited() | MessageDeleted() | MessagePinned() | MessageUnpinned() | MessagesExpired():
            return _pinned(profile, event)
        case InvitationCreated() | InvitationRevoked() | InvitationUsed():
            return replace(profile, invitations=_invited(profile.invitations, event))
        case ConversationChanged():
            return _renamed(profile, event)
        case MembersAdded():
            return replace(profile, members=_joined(profile.members, event.members, version, messages))
        case MembersRemoved():
            gone = set(event.user_ids)
            return replace(profile, members={user: m for user, m in profile.members.items() if user not in gone})
        case MemberRoleChanged():
            member = replace(profile.members[event.user_id], role=event.role)
            return replace(profile, members={**profile.members, event.user_id: member})
        case MemberBanned():
            return replace(profile, bans={**lasting(profile.bans, event.at_us), event.user_id: event.until_us})
        case MemberUnbanned():
            return replace(profile, bans=_without(profile.bans, event.user_id))
        case MemberMuted():
            return replace(profile, mutes={**lasting(profile.mutes, event.at_us), event.user_id: event.until_us})
        case MemberUnmuted():
            return replace(profile, mutes=_without(profile.mutes, event.user_id))
    raise TypeError(f"no event of a conversation: {type(event).__name__}")


def _pinned(
    profile: Profile, event: MessageEdited | MessageDeleted | MessagePinned | MessageUnpinned | MessagesExpired
) -> Profile:
    if isinstance(event, MessagePinned):
        return replace(profile, pins=(*profile.pins, event.version))
    if isinstance(event, MessagesExpired):
        gone = {message.version for message in event.messages_gone}
        if gone.isdisjoint(profile.pins):
            return profile
        return replace(profile, pins=tuple(pin for pin in profile.pins if pin not in gone))
    if isinstance(event, MessageEdited) or event.version not in profile.pins:
        return profile
    return replace(profile, pins=tuple(pin for pin in profile.pins if pin != event.version))


def _renamed(profile: Profile, event: ConversationChanged) -> Profile:
    kept = {key: value for key, value in profile.attributes.items() if key not in event.removed_attributes}
    return replace(
        profile,
        title=profile.title if event.title is None else event.title,
        picture=profile.picture if event.picture is None else event.picture,
        attributes={**kept, **event.attributes},
        open=profile.open if event.open is None else event.open,
        slow_mode_s=profile.slow_mode_s if event.slow_mode_s is None else event.slow_mode_s,
        message_ttl_s=profile.message_ttl_s if event.message_ttl_s is None else event.message_ttl_s,
    )


MAX_INVITATIONS: Final = 100
"""Invitations that are kept, those that are over included."""


def ended(invitation: Invitation, at_us: int) -> str:
    """Give why an invitation cannot be used: the reason of the refusal, empty where it can."""
    if invitation.revoked:
        return "INVITATION_REVOKED"
    if invitation.until_us and at_us >= invitation.until_us:
        return "INVITATION_EXPIRED"
    if invitation.max_uses and invitation.uses >= invitation.max_uses:
        return "INVITATION_USED_UP"
    return ""


def _invited(
    invitations: Mapping[str, Invitation], event: InvitationCreated | InvitationRevoked | InvitationUsed
) -> dict[str, Invitation]:
    after = dict(invitations)
    if isinstance(event, InvitationCreated):
        if len(after) >= MAX_INVITATIONS:  # the oldest that is over makes room
            over = next((digest for digest, each in after.items() if ended(each, event.at_us)), None)
            if over is not None:
                del after[over]
        after[event.digest] = Invitation(
            event.invitation_id, event.role, event.actor, event.at_us, event.until_us, event.max_uses
        )
        return after
    for digest, each in invitations.items():
        if each.id == event.invitation_id:
            is_used = isinstance(event, InvitationUsed)
            after[digest] = replace(each, uses=event.uses) if is_used else replace(each, revoked=True)  # type: ignore[union-attr]
    return after


def _joined(
    members: Mapping[str, Member], new: Iterable[tuple[str, Role]], version: int, messages: int
) -> dict[str, Member]:
    return {**members, **{user_id: Member(role, version, messages) for user_id, role in new}}


def _without(sanctions: Mapping[str, int], user_id: str) -> dict[str, int]:
    return {other: until_us for other, until_us in sanctions.items() if other != user_id}
