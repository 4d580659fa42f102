"""Which processes hold a user's presence.

All users of all tenants fall into a fixed number of slots by a hash. A slot belongs to the two live processes that rank highest for it
(rendezvous hashing, Thaler and Ravishankar 1998), so that a process that comes or goes moves its own share and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

SLOTS: Final = 256
"""The same in all processes of a deployment, and in all releases that run together."""
COPIES: Final = 2

Key = tuple[str, str]
"""A user: tenant, user id."""


def slot_of(key: Key) -> int:
    """Give a user's slot."""
    tenant, user_id = key
    digest = hashlib.blake2b(f"{len(tenant)}:{tenant}{user_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % SLOTS


def homes(slot: int, processes: Iterable[str]) -> list[str]:
    """Give the processes that hold a slot, the one that speaks for it first; none where there are none."""
    return sorted(processes, key=lambda process: _rank(slot, process), reverse=True)[:COPIES]


def _rank(slot: int, process: str) -> bytes:
    return hashlib.blake2b(f"{slot}:{process}".encode(), digest_size=8).digest()
