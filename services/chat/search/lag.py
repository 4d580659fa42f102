"""How far an index is behind the log that it is made of."""

from __future__ import annotations

import time


class _Place:
    """A partition: how many entries are in hand and how many wait in the log, and since when the oldest of them is there."""

    __slots__ = ("in_hand", "since", "waiting")

    def __init__(self) -> None:
        self.in_hand = self.waiting = 0
        self.since = 0.0


class Lag:
    """Of one index, by what its reader was handed. Where nothing is read, as the log is away, it is as it was before."""

    def __init__(self) -> None:
        """Nobody follows here."""
        self._places: dict[int, _Place] = {}

    def begin(self, partitions: int) -> None:
        """Follow: nothing was read yet."""
        self._places = {partition: _Place() for partition in range(partitions)}

    def end(self) -> None:
        """Follow no more: this process has nothing to tell."""
        self._places = {}

    def taken(self, partition: int, entries: int, waiting: int, since: float) -> None:
        """Note that entries were read, the first of which came at ``since`` (seconds since the epoch; 0: that is not known)."""
        place = self._places[partition]
        if not place.since:
            place.since = since or time.time()
        place.in_hand, place.waiting = entries, waiting

    def done(self, partition: int, until: float) -> None:
        """Note that they are in the index, the last of which came at ``until``."""
        place = self._places[partition]
        place.in_hand = 0
        place.since = (until or place.since) if place.waiting else 0.0

    @property
    def entries(self) -> int | None:
        """How many entries are not in the index; None where nobody follows here."""
        places = tuple(self._places.values())
        return sum(place.in_hand + place.waiting for place in places) if places else None

    @property
    def seconds(self) -> float | None:
        """How old the oldest of them is; 0 where there is none, None where nobody follows here."""
        places = tuple(self._places.values())
        if not places:
            return None
        now = time.time()
        return max(max(0.0, now - place.since) if place.since else 0.0 for place in places)
