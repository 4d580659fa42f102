"""What an aggregate remembers of request ids: recent ones in memory, all others in the store, so there is no window.

An id newer than every id that is not in memory is surely new. The bound for that, the horizon, is kept with the head.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from services.ledger.ids import milliseconds_of


class Answered(NamedTuple):
    """A command that was applied: its events and the digest of its content."""

    first_version: int
    events: int
    fingerprint: bytes


class RequestMemory:
    """The recent request ids of one aggregate, at most `capacity`; the oldest are forgotten first.

    Only ids of stored entries are put in, so none that the store lacks is ever forgotten.
    """

    __slots__ = ("_capacity", "_known", "horizon_ms")

    def __init__(self, horizon_ms: int, capacity: int = 16_384) -> None:
        self._known: dict[bytes, Answered] = {}
        self._capacity = capacity
        self.horizon_ms = horizon_ms

    def find(self, request_id: bytes) -> Answered | None:
        """What is remembered of an id."""
        return self._known.get(request_id)

    def surely_new(self, request_id: bytes, made_ms: int) -> bool:
        """True: neither memory nor store holds this id. False: ask memory, then the store. `made_ms`: the id's own time."""
        return made_ms > self.horizon_ms and request_id not in self._known

    def add(self, request_id: bytes, answered: Answered) -> None:
        """Remembers an id whose entry is stored."""
        known = self._known
        known[request_id] = answered
        if len(known) > self._capacity:
            self._forget()

    def _forget(self) -> None:
        # A quarter at a time: taking the first key of a dict whose first keys are gone walks over the gaps.
        for oldest in list(islice(self._known, self._capacity // 4 + 1)):
            del self._known[oldest]
            self.horizon_ms = max(self.horizon_ms, milliseconds_of(oldest))
