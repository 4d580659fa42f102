"""Who acts, as far as Chat cares: the verified caller turned into a user, a service behind it, and what it oversees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.chat import domain, projections
from services.chat.policy import OVERSEERS, SPEAKS_FOR_OTHERS
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Caller


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: ``acting_service`` is empty unless a service acts for the user."""

    tenant: str
    user_id: str
    acting_service: str
    oversees: bool
    is_service: bool
    """A service acts, and for nobody."""


def actor_of(caller: Caller, named: str = "") -> Actor:
    """Give who acts; ``named`` is a user that the request names in place of the caller.

    Raises domain.Refused (FORBIDDEN) where the caller may not speak for another.
    """
    oversees = not OVERSEERS.isdisjoint(caller.roles)
    if SPEAKS_FOR_OTHERS in caller.roles:
        user_id = named or caller.on_behalf_of or caller.subject
        itself = user_id == caller.subject
        return Actor(caller.tenant, user_id, "" if itself else caller.subject, oversees, itself)
    if named and named != caller.subject:
        raise domain.Refused("FORBIDDEN", "only a service speaks for others", field="sender_id")
    return Actor(caller.tenant, caller.subject, "", oversees, False)


async def may_read(
    ledger: Ledger, actor: Actor, aggregate: AggregateId, state: domain.Conversation, at_us: int
) -> bool:
    """Tell whether the actor may read a conversation: its members may, a channel's readers, and who oversees the tenant."""
    profile = state.profile
    if profile is None:
        return False
    if actor.oversees or actor.user_id in profile.members:
        return True
    if profile.kind is not domain.Kind.CHANNEL or domain.lasts(profile.bans, actor.user_id, at_us):
        return False
    return await projections.reads(ledger, aggregate, actor.user_id, profile.created_us)


async def told(
    ledger: Ledger, actor: Actor, aggregate: AggregateId, unseen: domain.Unseen, at_us: int
) -> domain.Refused:
    """Give what one is told who was refused as if there were no such channel: its readers, which permission is missing."""
    profile = (await ledger.read(aggregate, fresh=False)).state.profile
    if profile is None or domain.lasts(profile.bans, actor.user_id, at_us):
        return unseen
    if not await projections.reads(ledger, aggregate, actor.user_id, profile.created_us):
        return unseen
    return domain.lacking(domain.Permission(unseen.permission), domain.Role.READER)


@asynccontextmanager
async def telling(ledger: Ledger, actor: Actor, aggregate: AggregateId, at_us: int) -> AsyncIterator[None]:
    """Have a channel's reader told what it lacks, where what is done here is refused as if there were no such channel."""
    try:
        yield
    except domain.Unseen as unseen:
        raise await told(ledger, actor, aggregate, unseen, at_us) from None


async def readable(ledger: Ledger, actor: Actor, aggregate: AggregateId, at_us: int) -> domain.Conversation:
    """Give a conversation that the actor may read. Raises domain.Refused (NOT_FOUND)."""
    state: domain.Conversation = (await ledger.read(aggregate)).state
    if not await may_read(ledger, actor, aggregate, state, at_us):
        raise domain.not_found()
    return state


async def knowable(ledger: Ledger, actor: Actor, aggregate: AggregateId, at_us: int) -> domain.Conversation:
    """Give a conversation that the actor may know of: it is open to all, or the actor may read it. Raises domain.Refused (NOT_FOUND)."""
    state: domain.Conversation = (await ledger.read(aggregate)).state
    is_open = state.profile is not None and state.profile.open
    if not is_open and not await may_read(ledger, actor, aggregate, state, at_us):
        raise domain.not_found()
    return state
