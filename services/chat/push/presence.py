"""Who is here, as far as push cares: whoever looks at a device of its own now needs no telling."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Presence(Protocol):
    """Knows who is here."""

    async def is_here(self, tenant: str, users: Collection[str]) -> set[str]:
        """Give those of some users who are here now; nobody where that cannot be found out."""


class NobodyIsHere:
    """Where presence is not known, what was read decides alone."""

    async def is_here(self, tenant: str, users: Collection[str]) -> set[str]:
        """Give nobody."""
        return set()
