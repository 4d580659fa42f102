"""What those who keep order write: why they banned somebody, what they noted of a report. Sealed with a key of the tenant's own.

Not with the key of who wrote it: why a decision was taken is the tenant's record, and must outlive the person who took it; and not with the
key of whom it is about, who would have it erased and stay banned without anybody knowing why.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import moderation_pb2 as pb

from services.chat.contents import Contents
from services.chat.moderation import projections
from services.ledger.ids import AggregateId

KEEPER: Final = " moderation"
"""In a user id's place where a tenant's own key is kept: no user is called so, so nobody is erased with it."""


class Notes:
    """Seals and opens them. Every method raises StoreUnavailable."""

    def __init__(self, contents: Contents) -> None:
        """Seal with what seals what people say."""
        self._contents = contents

    async def sealed(self, aggregate: AggregateId, text: str, before: str = "") -> str:
        """Give a text as a command has it; the same bytes where it says what ``before`` says."""
        if not text:
            return ""
        if before and await self._text(aggregate, base64.b64decode(before)) == text:
            return before
        content = chat_pb2.MessageContent(text=text).SerializeToString()
        return base64.b64encode(await self._contents.sealed(aggregate, KEEPER, content)).decode()

    async def note_of(self, report: AggregateId, resolved: pb.ReportResolved) -> str:
        """Read what was noted of a report."""
        return resolved.note or await self._text(report, resolved.content.SerializeToString())

    async def show_bans(self, tenant: str, banned: Iterable[pb.BannedUser]) -> None:
        """Put the reasons of bans where those who moderate read them."""
        for each in banned:
            if each.HasField("stored_reason"):
                where = projections.standing_of(tenant, each.user_id)
                each.reason = await self._text(where, each.stored_reason.SerializeToString())
                each.ClearField("stored_reason")

    async def show_reports(self, tenant: str, reports: Iterable[pb.ReportedMessage]) -> None:
        """Put what was noted of reports where those who moderate read it."""
        for each in reports:
            if each.HasField("stored_note"):
                where = projections.report_of(tenant, each.conversation_id, each.message_version)
                each.note = await self._text(where, each.stored_note.SerializeToString())
                each.ClearField("stored_note")

    async def _text(self, aggregate: AggregateId, words: bytes) -> str:
        content = chat_pb2.MessageContent.FromString(words)
        await self._contents.open(aggregate, [(content, KEEPER)])
        return content.text
