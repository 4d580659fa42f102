"""Who said how much, when last: one small record for each who ever spoke, changed by every message.

The records lie in buckets, and a message copies the bucket of its sender alone. So it costs about the same whether ten have spoken
or five thousand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from zlib import crc32

Sender = tuple[int, int, int]
"""How many messages, the version of the last one, and when that was (µs since the Unix epoch)."""
Senders = tuple[dict[str, Sender], ...]

_BUCKETS: Final = 64
NOBODY: Final[Senders] = tuple({} for _ in range(_BUCKETS))


def sender(senders: Senders, user_id: str) -> Sender | None:
    """Give what is known of one who spoke; None of one who did not."""
    return senders[crc32(user_id.encode()) % _BUCKETS].get(user_id)


def spoken(senders: Senders, user_id: str, version: int, at_us: int) -> Senders:
    """Give the records after a message."""
    place = crc32(user_id.encode()) % _BUCKETS
    bucket = senders[place]
    before = bucket.get(user_id)
    count = before[0] + 1 if before is not None else 1
    return (*senders[:place], {**bucket, user_id: (count, version, at_us)}, *senders[place + 1 :])


def forgotten(senders: Senders, user_ids: Iterable[str]) -> Senders:
    """Give the records without those of some users."""
    gone: dict[int, set[str]] = {}
    for user_id in user_ids:
        gone.setdefault(crc32(user_id.encode()) % _BUCKETS, set()).add(user_id)
    return tuple(
        {user_id: record for user_id, record in bucket.items() if user_id not in gone[place]}
        if place in gone
        else bucket
        for place, bucket in enumerate(senders)
    )
