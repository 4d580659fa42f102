"""All of a user's conversations, as far as push looks at them."""

from __future__ import annotations

from typing import Final

from services.chat import commands, listings, projections, receipts
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

MOST_CONVERSATIONS: Final = 200
"""So many, the newest, are looked at; who is in more gets no badge."""


async def conversations(ledger: Ledger, tenant: str, user_id: str, at_us: int) -> list[AggregateId]:
    """Give a user's newest conversations, at most one more than are looked at. Raises StoreUnavailable."""
    where = projections.partition(tenant, user_id)
    rows = await ledger.rows(projections.BY_USER, where, limit=MOST_CONVERSATIONS + 1, descending=True)
    found = []
    for row in rows:
        conversation = AggregateId(tenant, commands.KIND, projections.conversation_id_of(row.key))
        state = (await ledger.read(conversation, fresh=False)).state
        if listings.shows(state, row.key, user_id, at_us):
            found.append(conversation)
    return found


async def badge(ledger: Ledger, tenant: str, user_id: str, at_us: int) -> int | None:
    """Count all that a user has not read; None where it is in too many conversations. Raises StoreUnavailable."""
    where = await conversations(ledger, tenant, user_id, at_us)
    if len(where) > MOST_CONVERSATIONS:
        return None
    total = 0
    for conversation in where:
        state = (await ledger.read(conversation, fresh=False)).state
        total += (await receipts.count(ledger, conversation, state, user_id)).count
    return total
