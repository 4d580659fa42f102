"""Whom a mention of who is here is for: members of a group who are online at that moment, where they are few enough to be recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from services.chat import domain
from services.chat.access import Actor
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

Online = Callable[[str, Collection[str]], Awaitable[frozenset[str] | None]]
"""Gives those of some users of a tenant who are online; None where that cannot be found out."""
MOST_MEMBERS: Final = 1_000
"""Members of a group whose presence is asked for."""
MOST_HERE: Final = 200
MOST_HERE_BYTES: Final = 8 * 1024
"""Of those, what one message records."""


async def nobody_knows(_tenant: str, _user_ids: Collection[str]) -> frozenset[str] | None:
    """Know nothing of who is online."""
    return None


async def who_is_here(
    ledger: Ledger, online: Online, actor: Actor, conversation: AggregateId
) -> tuple[str, ...] | None:
    """Give the other members who are online; None where all are meant, as they are too many, or nobody knows. Raises LedgerError."""
    profile = (await ledger.read(conversation, fresh=False)).state.profile
    if profile is None or actor.user_id not in profile.members or profile.kind is not domain.Kind.GROUP:
        return None
    if len(profile.members) > MOST_MEMBERS:
        return None
    others = [user_id for user_id in profile.members if user_id != actor.user_id]
    here = await online(conversation.tenant, others) if others else frozenset()
    if here is None or len(here) > MOST_HERE or sum(len(each.encode()) for each in here) > MOST_HERE_BYTES:
        return None
    return tuple(sorted(here))
