"""Attachments in what people say: which a message names, whether it may, and that they stay.

A message's content says of an attachment what the server knows of it, whatever its sender wrote, so that nobody is told a picture and gets
a program. What the server knows never changes, so a repeated request is the same request, also when the attachment has gone since.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tradewind.chat.v1 import chat_pb2

from services.chat import commands
from services.chat.access import Actor
from services.chat.attachments import domain, removing, rows, seeing
from services.ledger.ledger import Ledger


class Attached(NamedTuple):
    """What a content names: its attachments, and the first of them that cannot be sent."""

    ids: tuple[str, ...] = ()
    missing: str = ""


NOTHING: Final = Attached()


class Uses:
    """Looks at attachments that are about to be sent."""

    def __init__(self, ledger: Ledger) -> None:
        """Look at those that ``ledger`` knows."""
        self._ledger = ledger

    async def said(self, content: chat_pb2.MessageContent, actor: Actor) -> tuple[chat_pb2.MessageContent, Attached]:
        """Give a content as it is to be written, and what it names. Raises LedgerError."""
        if not content.attachment_ids and not any(part.attachment.attachment_id for part in content.parts):
            return content, NOTHING
        after = chat_pb2.MessageContent()
        after.CopyFrom(content)
        after.ClearField("attachment_ids")
        ids: dict[str, None] = {}
        missing = ""
        for part in after.parts:
            attachment_id = part.attachment.attachment_id
            if not attachment_id:
                continue
            state: domain.Attachment = (await self._ledger.read(rows.aggregate_of(actor.tenant, attachment_id))).state
            _describe(part.attachment, state)
            if attachment_id not in ids and not await self._may_send(actor, attachment_id, state):
                missing = missing or attachment_id
            ids[attachment_id] = None
        after.attachment_ids.extend(ids)
        return after, Attached(tuple(ids), missing)

    async def again(self, tenant: str, attachment_ids: Iterable[str]) -> Attached:
        """Look at attachments of a message that is forwarded by one who may read it. Raises LedgerError."""
        ids, missing = tuple(attachment_ids), ""
        for attachment_id in ids:
            aggregate = rows.aggregate_of(tenant, attachment_id)
            if not await self._spared(tenant, attachment_id, (await self._ledger.read(aggregate)).state):
                missing = missing or attachment_id
        return Attached(ids, missing)

    async def _may_send(self, actor: Actor, attachment_id: str, state: domain.Attachment) -> bool:
        if state.state is not domain.State.COMPLETE:
            return False
        own = state.owner in (actor.user_id, actor.acting_service)
        if not own and not await seeing.is_read_by(self._ledger, actor, attachment_id):
            return False
        return await self._spared(actor.tenant, attachment_id, state)

    async def _spared(self, tenant: str, attachment_id: str, state: domain.Attachment) -> bool:
        """Make sure that it is not deleted before the message is there; False where it is too late."""
        if state.state is not domain.State.COMPLETE:
            return False
        if state.care is domain.Care.CONDEMNED:
            aggregate = rows.aggregate_of(tenant, attachment_id)
            command = domain.Spare(commands.now_us())
            try:
                await self._ledger.execute(aggregate, command, removing.named(aggregate, state, "spare"))
            except domain.Refused:
                return False
        return True


def _describe(shown: chat_pb2.Attachment, state: domain.Attachment) -> None:
    if not state.sha256:
        return
    shown.uri = ""
    shown.media_type = state.media_type
    shown.size_bytes = state.size
    shown.sha256 = bytes.fromhex(state.sha256)
    shown.width, shown.height = state.width, state.height
