"""Request ids: UUIDs of version 7 (RFC 9562, section 5.7), made once per intent and kept over every retry of it."""

from __future__ import annotations

import hashlib
import os
import time
import uuid

_LATEST = (1 << 48) - 1


def new_request_id() -> str:
    """Make a request id of now."""
    return _shaped(time.time_ns() // 1_000_000, os.urandom(10))


def derive_request_id(milliseconds: int, *scope: str) -> str:
    """Make the one request id of an intent that has a name of its own, such as a line of a file.

    `milliseconds` since the Unix epoch lead it, so ids sort as their times do; a time before 1970 counts as 1970. The rest is a digest
    of `scope`: the same time and scope give the same id on every machine, so doing it twice is doing it once.
    """
    digest = hashlib.sha256()
    for part in scope:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return _shaped(min(max(milliseconds, 0), _LATEST), digest.digest()[:10])


def _shaped(milliseconds: int, rest: bytes) -> str:
    number = milliseconds << 80 | int.from_bytes(rest, "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))
