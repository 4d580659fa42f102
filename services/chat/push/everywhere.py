"""All of a user's conversations, as far as push looks at them."""

from __future__ import annotations

from typing import Final

from services.chat import commands, listings, projections, receipts
from services.ledger.errors import HistoryGap
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

MOST_CONVERSATIONS: Final = 200
"""So many, the newest, are looked at; who is in more gets no badge."""


async def conversations(ledger: Ledger, tenant: str, user_id: str, at_us: int) -> list[AggregateId]:
    """Give a user's newest conversations, at most one more than are looked at; without those whose history has a gap.

    Raises StoreUnavailable.
    """
    return (await _all(ledger, tenant, user_id, at_us))[0]


async def _all(ledger: Ledger, tenant: str, user_id: str, at_us: int) -> tuple[list[AggregateId], bool]:
    """Give them, and whether none is left out."""
    where = projections.partition(tenant, user_id)
    rows = await ledger.rows(projections.BY_USER, where, limit=MOST_CONVERSATIONS + 1, descending=True)
    found, whole = [], True
    for row in rows:
        conversation = AggregateId(tenant, commands.KIND, projections.conversation_id_of(row.key))
        try:
            state = (await ledger.read(conversation, fresh=False)).state
        except HistoryGap:  # until an operator has restored it; those of other conversations are told all the same
            whole = False
            continue
        if listings.shows(state, row.key, user_id, at_us):
            found.append(conversation)
    return found, whole


async def badge(ledger: Ledger, tenant: str, user_id: str, at_us: int) -> int | None:
    """Count all that a user has not read; None where it is in too many conversations, or one has a gap. Raises StoreUnavailable."""
    where, whole = await _all(ledger, tenant, user_id, at_us)
    if not whole or len(where) > MOST_CONVERSATIONS:
        return None
    total = 0
    for conversation in where:
        state = (await ledger.read(conversation, fresh=False)).state
        total += (await receipts.count(ledger, conversation, state, user_id)).count
    return total
