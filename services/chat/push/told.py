"""What was told whom, and what waits for somebody's quiet hours to end: rows of a conversation, one a user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from zlib import crc32

from services.chat import commands, marks, receipts
from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

TOLD: Final = "push_told"
"""Up to which version a member was told; the sequence is that version, so it only rises."""
HELD: Final = "push_held"
"""When the quiet hours end of a member for whom something is held back."""
SLICED: Final = {TOLD: 2, HELD: 2}
"""A conversation's rows are cut into 256 slices, as its cursors are."""
_PAGE: Final = 500
_MOST: Final = 20_000


async def told(ledger: Ledger, conversation: AggregateId) -> dict[str, int]:
    """Read up to where each member was told. Raises StoreUnavailable."""
    return {row.key[2:]: row.seq for row in await _all(ledger, TOLD, conversation)}


async def held(ledger: Ledger, conversation: AggregateId) -> dict[str, int]:
    """Read for whom something is held back, and until when. Raises StoreUnavailable."""
    return {row.key[2:]: int(row.value or b"0") for row in await _all(ledger, HELD, conversation)}


async def read(ledger: Ledger, conversation: AggregateId) -> dict[str, int]:
    """Read up to where each member has read. Raises StoreUnavailable."""
    return {receipts.whose(row)[2]: row.seq for row in await _all(ledger, receipts.READ, conversation)}


async def told_one(ledger: Ledger, conversation: AggregateId, user_id: str) -> int:
    """Read up to where one member was told. Raises StoreUnavailable."""
    row = await ledger.row(TOLD, marks.partition(conversation), _key(user_id))
    return row.seq if row is not None else 0


async def is_held(ledger: Ledger, conversation: AggregateId, user_id: str) -> bool:
    """Tell whether something is held back for one member. Raises StoreUnavailable."""
    return await ledger.row(HELD, marks.partition(conversation), _key(user_id)) is not None


def told_row(conversation: AggregateId, user_id: str, version: int) -> Row:
    """Give the row that says up to where a member was told."""
    return Row(TOLD, marks.partition(conversation), _key(user_id), b"", version)


def held_row(conversation: AggregateId, user_id: str, until_us: int | None) -> Row:
    """Give the row that says until when something is held back for a member; None: nothing is."""
    value = str(until_us).encode() if until_us is not None else None
    return Row(HELD, marks.partition(conversation), _key(user_id), value, commands.now_us())


async def _all(ledger: Ledger, table: str, conversation: AggregateId) -> Iterable[Row]:
    found: list[Row] = []
    after: str | None = None
    while len(found) < _MOST:
        page = await ledger.rows(table, marks.partition(conversation), after=after, limit=_PAGE)
        found += page
        if len(page) < _PAGE:
            break
        after = page[-1].key
    return found


def _key(user_id: str) -> str:
    return f"{crc32(user_id.encode()) & 0xFF:02x}{user_id}"
