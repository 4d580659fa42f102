"""What users call their files: in rows that go with their owner, sealed with the owner's key."""

from __future__ import annotations

from typing import Final

from services.chat.attachments import rows
from services.chat.privacy import sealing
from services.chat.privacy.keys import PersonKeys
from services.ledger.ledger import Ledger

_SEALED: Final = b"\xff"
"""What a sealed name begins with, and no text does (RFC 3629, 1)."""


class Names:
    """Writes and reads them. Every method raises StoreUnavailable.

    Args:
        keys: without them nothing is sealed, and what was sealed is shown as no name.
    """

    def __init__(self, ledger: Ledger, keys: PersonKeys | None) -> None:
        """Keep names in ``ledger``."""
        self._ledger, self._keys = ledger, keys

    async def put(self, tenant: str, user_id: str, attachment_id: str, name: str) -> None:
        """Write what an attachment's owner calls it."""
        value = name.encode()
        if self._keys is not None:
            key = await self._keys.needed((tenant, user_id))
            value = _SEALED + sealing.wrap(key, _what(tenant, attachment_id), value)
        await self._ledger.put_rows([rows.name_row(tenant, user_id, attachment_id, value)])

    async def of(self, tenant: str, user_id: str, attachment_id: str) -> str:
        """Read what an attachment's owner calls it; empty where that was forgotten."""
        row = await self._ledger.row(rows.NAMES, rows.owner_partition(tenant, user_id), attachment_id)
        value = row.value if row is not None else None
        if not value or not value.startswith(_SEALED):
            return (value or b"").decode()
        if self._keys is None:
            return ""
        wrapped = value[len(_SEALED) :]
        key = await self._keys.found((tenant, user_id), wrapped[: sealing.KEY_ID_BYTES])
        name = sealing.unwrap(wrapped, key, _what(tenant, attachment_id)) if key is not None else None
        return (name or b"").decode()


def _what(tenant: str, attachment_id: str) -> str:
    return f"name of {tenant}/{attachment_id}"
