"""Attachments that wait with a scheduled message of their owner: nobody names them yet, and they are needed."""

from __future__ import annotations

from typing import Final

from tradewind.chat.v1 import chat_pb2

from services.chat.scheduling import domain, wire
from services.chat.scheduling.sending import KIND
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

_WAITS: Final = (domain.Status.WAITING, domain.Status.SENDING)


async def is_scheduled(ledger: Ledger, tenant: str, owner: str, attachment_id: str) -> bool:
    """Tell whether a message that an attachment's owner has scheduled names it."""
    aggregate = AggregateId(tenant, KIND, owner)
    state: domain.Schedules = (await ledger.read(aggregate)).state
    for item in state.items.values():
        if item.status not in _WAITS:
            continue
        page = await ledger.history(aggregate, after=item.content_version - 1, limit=1)
        content = chat_pb2.MessageContent.FromString(wire.content_of(page[0].payload) if page else b"")
        if attachment_id in content.attachment_ids:
            return True
    return False
