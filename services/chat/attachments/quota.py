"""What one user may upload."""

from __future__ import annotations

from typing import Final

from services.chat.access import Actor
from services.chat.attachments import domain, rows
from services.chat.attachments.config import AttachmentSettings
from services.ledger.ledger import Ledger

DAY_US: Final = 24 * 3600 * 1_000_000
LEAST_BYTES: Final = 64 * 1024
"""What each upload counts at least, so that there are not too many of them."""
_PAGE: Final = 200


async def check_quota(ledger: Ledger, actor: Actor, size: int, now_us: int, settings: AttachmentSettings) -> None:
    """Hold an upload that is to begin against the limits. Raises Refused (ATTACHMENTS_LIMIT).

    What began in the last 24 hours counts, also what was given up. Uploads that begin at the same moment do not see each other.
    """
    if size > settings.attachment_bytes:
        raise _over("size_bytes", settings.attachment_bytes)
    uploaded, uploading = max(size, LEAST_BYTES), 1
    since = f"{max(0, now_us - DAY_US):016x}"
    after: str | None = None
    while True:
        where = rows.owner_partition(actor.tenant, actor.user_id)
        page = await ledger.rows(rows.OWNED, where, after=after, limit=_PAGE, descending=True)
        for row in page:
            state, _, declared = (row.value or b"").decode().partition(" ")
            recent = row.key > since
            uploading += state == domain.State.UPLOADING.value
            uploaded += max(int(declared), LEAST_BYTES) if recent else 0
        if uploading > settings.attachment_open_uploads:
            raise _over("open_uploads", settings.attachment_open_uploads)
        if uploaded > settings.attachment_day_bytes:
            raise _over("day_bytes", settings.attachment_day_bytes)
        if len(page) < _PAGE or page[-1].key < since:
            return
        after = page[-1].key


def _over(limit: str, most: int) -> domain.Refused:
    return domain.Refused("ATTACHMENTS_LIMIT", f"the limit {limit} of {most} is reached", limit=limit, most=str(most))
