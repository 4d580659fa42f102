"""Who may see an attachment: who uploaded it, and who may read a message that names it."""

from __future__ import annotations

from typing import Final

from services.chat import commands, marks, wire
from services.chat.access import Actor, may_read
from services.chat.attachments import domain, rows
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

MOST_LOOKED_AT: Final = 100
"""So many messages that name an attachment are looked at where the caller does not say in which conversation it has it from."""


async def owned(ledger: Ledger, actor: Actor, attachment_id: str) -> domain.Attachment:
    """Give an attachment of the actor's own that is there. Raises Refused (NOT_FOUND)."""
    state: domain.Attachment = (await ledger.read(rows.aggregate_of(actor.tenant, attachment_id))).state
    if state.state not in domain.THERE or state.owner != actor.user_id:
        raise domain.not_found()
    return state


async def seen(ledger: Ledger, actor: Actor, attachment_id: str, conversation_id: str = "") -> domain.Attachment:
    """Give an attachment that the actor may see. Raises Refused (NOT_FOUND)."""
    state: domain.Attachment = (await ledger.read(rows.aggregate_of(actor.tenant, attachment_id))).state
    if state.state not in domain.THERE:
        raise domain.not_found()
    if actor.oversees or state.owner == actor.user_id:
        return state
    if not await is_read_by(ledger, actor, attachment_id, conversation_id):
        raise domain.not_found()
    return state


async def is_read_by(ledger: Ledger, actor: Actor, attachment_id: str, conversation_id: str = "") -> bool:
    """Tell whether the actor may read a message that names an attachment."""
    looked, readable = 0, dict[str, bool]()
    async for conversation, version in rows.links(ledger, actor.tenant, attachment_id, conversation_id):
        looked += 1
        if looked > MOST_LOOKED_AT:
            return False
        aggregate = commands.aggregate_of(actor, conversation)
        if conversation not in readable:
            state = (await ledger.read(aggregate)).state
            readable[conversation] = await may_read(ledger, actor, aggregate, state, commands.now_us())
        if readable[conversation] and await _is_there(ledger, aggregate, version):
            return True
    return False


async def _is_there(ledger: Ledger, conversation: AggregateId, version: int) -> bool:
    """Tell whether a message was not deleted for all, and its time is not over, whether that was told yet or not."""
    if (await marks.mark(ledger, conversation, version)).deleted:
        return False
    page = await ledger.history(conversation, after=version - 1, limit=1)
    found = wire.said(page[0].payload) if page else None
    return found is None or not found.ended(commands.now_us())


async def is_named(ledger: Ledger, tenant: str, attachment_id: str) -> bool:
    """Tell whether any message names an attachment that was not deleted for all."""
    async for conversation, version in rows.links(ledger, tenant, attachment_id):
        aggregate = AggregateId(tenant, commands.KIND, conversation)
        if not (await marks.mark(ledger, aggregate, version)).deleted:
            return True
    return False
