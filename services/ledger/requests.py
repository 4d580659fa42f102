"""What an aggregate remembers of request ids: recent ones in memory, all others in the store, so there is no window.

An id newer than every id that is not in memory is surely new. The bound for that, the horizon, is kept with the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Answered(NamedTuple):
    """A command that was applied: its events and the digest of its content."""

    first_version: int
    events: int
    fingerprint: bytes


class RequestMemory:
    """The recent request ids of one aggregate, at most about `capacity`; the oldest are forgotten first.

    Two generations: when the younger is half of the capacity, the older is forgotten whole, so that forgetting costs nothing per id.
    Only ids of stored entries are put in, so none that the store lacks is ever forgotten.
    """

    __slots__ = ("_half", "_old", "_old_newest_ms", "_young", "_young_newest_ms", "horizon_ms")

    def __init__(self, horizon_ms: int, capacity: int = 16_384) -> None:
        self._young: dict[bytes, Answered] = {}
        self._old: dict[bytes, Answered] = {}
        self._young_newest_ms = self._old_newest_ms = 0
        self._half = max(1, capacity // 2)
        self.horizon_ms = horizon_ms

    def find(self, request_id: bytes) -> Answered | None:
        """What is remembered of an id."""
        return self._young.get(request_id) or self._old.get(request_id)

    def surely_new(self, request_id: bytes, made_ms: int) -> bool:
        """True: neither memory nor store holds this id. False: ask memory, then the store. `made_ms`: the id's own time."""
        return made_ms > self.horizon_ms and request_id not in self._young and request_id not in self._old

    def add(self, applied: Sequence[tuple[bytes, Answered]], newest_ms: int) -> None:
        """Remembers ids whose entry is stored. `newest_ms`: the time of the newest of them."""
        self._young.update(applied)
        self._young_newest_ms = max(self._young_newest_ms, newest_ms)
        if len(self._young) >= self._half:
            self.horizon_ms = max(self.horizon_ms, self._old_newest_ms)
            self._old, self._old_newest_ms = self._young, self._young_newest_ms
            self._young, self._young_newest_ms = {}, 0
