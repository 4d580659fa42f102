"""Who wants to hear of every entry: parts of a service that keep an eye on more aggregates than they could watch one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from services.ledger.archive import Row
from services.ledger.ids import AggregateId

HearStored = Callable[[AggregateId, int], None]
HearWritten = Callable[[AggregateId, Sequence[tuple[int, Any]]], None]
HearRows = Callable[[Sequence[Row]], None]
HearReconnected = Callable[[], None]
_log: Final = structlog.get_logger(__name__)


class Hearers:
    """Tells of entries at once and at most once: an announcement may be lost, so who must not miss anything looks there from time to time.

    Whoever hears is called on the event loop for each entry; it is quick, and neither waits nor raises. One that raises all the same is a
    defect of its own: the log says so, and neither the entry nor those who hear after it are touched.
    """

    __slots__ = ("_reconnected", "_rows", "_stored", "_written")

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._stored: list[HearStored] = []
        self._written: list[HearWritten] = []
        self._rows: list[HearRows] = []
        self._reconnected: list[HearReconnected] = []

    def on_stored(self, hear: HearStored) -> None:
        """Hear of each entry that any process of the service stores: of which aggregate, and the version it ends at."""
        self._stored.append(hear)

    def on_written(self, hear: HearWritten) -> None:
        """Hear of each entry that this process writes, once it is shown: its (version, event) pairs."""
        self._written.append(hear)

    def on_rows(self, hear: HearRows) -> None:
        """Hear of rows of read models that this process put beside the entries, once they are stored."""
        self._rows.append(hear)

    def on_reconnected(self, hear: HearReconnected) -> None:
        """Hear that this process was away from the others for a while: what they announced meanwhile was not heard."""
        self._reconnected.append(hear)

    def stored(self, aggregate: AggregateId, version: int) -> None:
        """An entry was stored."""
        for hear in self._stored:
            try:
                hear(aggregate, version)
            except Exception:  # noqa: BLE001 - see above
                _failed("stored")

    def written(self, aggregate: AggregateId, events: Sequence[tuple[int, Any]]) -> None:
        """An entry was written here."""
        for hear in self._written:
            try:
                hear(aggregate, events)
            except Exception:  # noqa: BLE001 - see above
                _failed("written")

    def rows(self, rows: Sequence[Row]) -> None:
        """Rows were put here."""
        for hear in self._rows:
            try:
                hear(rows)
            except Exception:  # noqa: BLE001 - see above
                _failed("rows")

    def reconnected(self) -> None:
        """This process is back."""
        for hear in self._reconnected:
            try:
                hear()
            except Exception:  # noqa: BLE001 - see above
                _failed("reconnected")


def _failed(of: str) -> None:
    _log.error("hearer_failed", of=of, exc_info=True)
