"""The time in a request id of an intent that a file names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_LATEST: Final = datetime(2026, 1, 1, tzinfo=UTC)


def milliseconds(at: datetime) -> int:
    """Milliseconds since the Unix epoch for the request id of something that a file dates `at`; without a zone it is taken as UTC.

    Services refuse ids from the future, and a file may hold any date: later ones count as the beginning of 2026. A fixed day, not today,
    so that the same file gives the same ids whenever it is read.
    """
    zoned = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return int(min(zoned, _LATEST).timestamp() * 1000)
