"""Who may have left a channel: a reader goes by an entry of its own place, which no event of the channel tells of.

Each process hears of every entry that any of them stores, so whoever reads a channel on an open stream is looked at again as soon as an
entry of its place is stored, and once the process was away from the others. An announcement may be lost all the same: so a reader is
also looked at before a frame where the last look is too long ago.
"""

from __future__ import annotations

from typing import Final, Protocol

from services.chat import projections
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

SURE_SECONDS: Final = 60.0
"""So long a reader is believed to be one without a look."""


class Doubtful(Protocol):
    """Somebody's place on a stream. Called on the event loop; neither waits nor raises."""

    def doubt(self, *, wake: bool) -> None:
        """Look again before anything more is given; ``wake``: at once."""


class Departures:
    """The readers of channels on the open streams of this process. One a process."""

    def __init__(self, ledger: Ledger) -> None:
        """Hear of every entry from now on."""
        self._followed: dict[AggregateId, dict[Doubtful, None]] = {}
        ledger.engine.hearers.on_stored(self._stored)
        ledger.engine.hearers.on_reconnected(self._reconnected)

    @property
    def follows(self) -> int:
        """How many places are followed."""
        return len(self._followed)

    def follow(self, place: AggregateId, reader: Doubtful) -> None:
        """Have a reader doubted whenever its place changes, until ``leave``."""
        self._followed.setdefault(place, {})[reader] = None

    def leave(self, place: AggregateId, reader: Doubtful) -> None:
        """Doubt it no more; again changes nothing."""
        readers = self._followed.get(place)
        if readers is not None:
            readers.pop(reader, None)
            if not readers:
                del self._followed[place]

    def _stored(self, aggregate: AggregateId, _version: int) -> None:
        if aggregate.kind == projections.PLACE:
            for reader in self._followed.get(aggregate, ()):
                reader.doubt(wake=True)

    def _reconnected(self) -> None:
        """What was stored meanwhile was not heard. Nobody is woken: all of them at once would be too many looks."""
        for readers in self._followed.values():
            for reader in readers:
                reader.doubt(wake=False)
