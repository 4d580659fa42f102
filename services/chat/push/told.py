"""What was told whom, and what waits for somebody's quiet hours to end: rows of a conversation, one a user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from zlib import crc32

from services.chat import commands, marks, receipts
from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

TOLD: Final = "push_told"
"""Up to which version a member was told; the sequence is that version, so it only rises."""
HELD: Final = "push_held"
"""When the quiet hours end of a member for whom something is held back, and up to which version."""
SLICED: Final = {TOLD: 2, HELD: 2}
"""A conversation's rows are cut into 256 slices, as its cursors are."""
_PAGE: Final = 500
_MOST: Final = 20_000


async def told(ledger: Ledger, conversation: AggregateId) -> dict[str, int]:
    """Read up to where each member was told. Raises StoreUnavailable."""
    return {row.key[2:]: row.seq for row in await _all(ledger, TOLD, conversation)}


class Held(NamedTuple):
    """Something is held back: until when (µs since the Unix epoch), and what was said up to which version."""

    until_us: int
    upto: int


async def held(ledger: Ledger, conversation: AggregateId) -> dict[str, Held]:
    """Read for whom something is held back. Raises StoreUnavailable."""
    return {row.key[2:]: _held_of(row) for row in await _all(ledger, HELD, conversation)}


async def read(ledger: Ledger, conversation: AggregateId) -> dict[str, int]:
    """Read up to where each member has read. Raises StoreUnavailable."""
    return {receipts.whose(row)[2]: row.seq for row in await _all(ledger, receipts.READ, conversation)}


async def told_one(ledger: Ledger, conversation: AggregateId, user_id: str) -> int:
    """Read up to where one member was told. Raises StoreUnavailable."""
    row = await ledger.row(TOLD, marks.partition(conversation), _key(user_id))
    return row.seq if row is not None else 0


async def held_one(ledger: Ledger, conversation: AggregateId, user_id: str) -> Held | None:
    """Read what is held back for one member. Raises StoreUnavailable."""
    row = await ledger.row(HELD, marks.partition(conversation), _key(user_id))
    return _held_of(row) if row is not None else None


def told_row(conversation: AggregateId, user_id: str, version: int) -> Row:
    """Give the row that says up to where a member was told."""
    return Row(TOLD, marks.partition(conversation), _key(user_id), b"", version)


def held_row(conversation: AggregateId, user_id: str, held_: Held | None) -> Row:
    """Give the row that says what is held back for a member; None: nothing is."""
    value = f"{held_.until_us} {held_.upto}".encode() if held_ is not None else None
    return Row(HELD, marks.partition(conversation), _key(user_id), value, commands.now_us())


def _held_of(row: Row) -> Held:
    until_us, upto = (row.value or b"0 0").split()
    return Held(int(until_us), int(upto))


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
