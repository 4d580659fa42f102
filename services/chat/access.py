"""Who acts, as far as Chat cares: the verified caller turned into a user, a service behind it, and what it oversees."""

from __future__ import annotations

from dataclasses import dataclass

from services.chat import domain
from services.chat.policy import OVERSEERS, SPEAKS_FOR_OTHERS
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


def may_see(actor: Actor, state: domain.Conversation) -> bool:
    """Tell whether the actor may know of a conversation: its members may, and who oversees the tenant."""
    return state.profile is not None and (actor.oversees or actor.user_id in state.profile.members)


def visible(actor: Actor, state: domain.Conversation) -> domain.Conversation:
    """Give the conversation back where the actor may see it. Raises domain.Refused (NOT_FOUND)."""
    if not may_see(actor, state):
        raise domain.not_found()
    return state
