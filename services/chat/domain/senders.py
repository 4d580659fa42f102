"""Who said how much, when last: one small record for each who ever spoke, changed by every message.

The records lie in buckets, and a message copies the bucket of its sender alone. So it costs about the same whether ten have spoken
or five thousand.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from zlib import crc32

Sender = tuple[int, int, int]
"""How many messages, the version of the last one, and when that was (µs since the Unix epoch)."""
Senders = list[dict[str, Sender]]
"""Never changed in place, nor is a bucket; a list because copying one is the cheapest."""

_BUCKETS: Final = 64
NOBODY: Final[Senders] = [{} for _ in range(_BUCKETS)]


@lru_cache(maxsize=8192)
def _bucket(user_id: str) -> int:
    return crc32(user_id.encode()) % _BUCKETS


def sender(senders: Senders, user_id: str) -> Sender | None:
    """Give what is known of one who spoke; None of one who did not."""
    return senders[_bucket(user_id)].get(user_id)


def spoken(senders: Senders, user_id: str, version: int, at_us: int) -> Senders:
    """Give the records after a message."""
    place = _bucket(user_id)
    bucket = senders[place].copy()
    before = bucket.get(user_id)
    bucket[user_id] = (1 if before is None else before[0] + 1, version, at_us)
    after = senders.copy()
    after[place] = bucket
    return after


def forgotten(senders: Senders, user_ids: Iterable[str]) -> Senders:
    """Give the records without those of some users."""
    gone: dict[int, set[str]] = {}
    for user_id in user_ids:
        gone.setdefault(_bucket(user_id), set()).add(user_id)
    after = senders.copy()
    for place, leaving in gone.items():
        after[place] = {user_id: record for user_id, record in senders[place].items() if user_id not in leaving}
    return after
