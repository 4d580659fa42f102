"""Letting go of old counts: which partitions of the store hold what of which day is noted when they are first written, so that nobody need
search for what is past. Each partition of the log looks after its own rows.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Protocol

import structlog

from services.ledger.archive import Row
from services.ledger.errors import LedgerError
from services.mail.stats.counting import KEPT, SECONDS, Place, partition_key, row_key, stretch_of

LOOKED_EVERY: Final = 600.0
_SLOTS: Final = 16
_MOST_NOTED: Final = 100_000
_PAGE: Final = 500
_GRACE: Final = 3600
"""So much later than it counts as past a row is deleted: by then nobody is about to write it."""
_log = structlog.get_logger(__name__)


class Store(Protocol):
    """What is asked of the ledger."""

    async def row(self, table: str, partition: str, key: str) -> Row | None:
        """Reads one row."""

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        """Reads a page of rows."""

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """Upserts rows; the higher sequence wins."""


class Calendar:
    """What one partition of the log keeps until when.

    Rows of ``<table>_until``, partition ``<period>/<day or hour>/<partition of the log>/<slot>``: the names of partitions to clear.
    """

    def __init__(self, store: Store, partition: int, table: str) -> None:
        """Look after the rows of one partition of the log in ``table``."""
        self._store = store
        self._partition = partition
        self._table = table
        self._notes = f"{table}_until"
        self._noted: dict[str, None] = {}

    async def note(self, places: Iterable[Place]) -> None:
        """Note that rows are about to be written.

        Raises:
            StoreUnavailable: not noted.
        """
        rows: dict[str, Row] = {}
        for place in places:
            where = partition_key(place)
            if place.period in KEPT and where not in self._noted:
                unit = _unit(place.period, stretch_of(place.dimension, place.period, place.start).start)
                rows[where] = Row(self._notes, self._page(place.period, unit, where), where, b"", unit)
        if not rows:
            return
        await self._store.put_rows(list(rows.values()))
        self._noted.update(dict.fromkeys(rows))
        if len(self._noted) > _MOST_NOTED:
            for oldest in list(islice(self._noted, _MOST_NOTED // 4)):
                del self._noted[oldest]

    async def keep(self) -> None:
        """Let go of what is past, now and then, until cancelled."""
        while True:
            try:
                await self.clear(int(time.time()))
            except LedgerError as error:
                _log.warning("statistics_not_cleared", reason=error.reason)
            await asyncio.sleep(LOOKED_EVERY * random.uniform(0.5, 1.0))

    async def clear(self, now: int) -> None:
        """Delete what is past; a stretch of time that was cleared wholly is not looked at again.

        Raises:
            StoreUnavailable: not all is deleted; call again.
        """
        for period, kept in KEPT.items():
            name = f"{self._partition}/{period}"
            place = await self._store.row(self._notes, "cleared", name)
            past = _unit(period, now - kept - _GRACE)
            unit = int(place.value or b"0") if place is not None else past - 1  # nothing older was ever noted
            while unit < past:
                for slot in range(_SLOTS):
                    await self._clear_page(f"{period}/{unit}/{self._partition}/{slot}")
                unit += 1
            await self._store.put_rows([Row(self._notes, "cleared", name, str(unit).encode(), unit)])

    def _page(self, period: int, unit: int, where: str) -> str:
        return f"{period}/{unit}/{self._partition}/{zlib.crc32(where.encode()) % _SLOTS}"

    async def _clear_page(self, page: str) -> None:
        while notes := await self._store.rows(self._notes, page, limit=_PAGE):
            for note in notes:
                await self._clear_partition(note.key)
            await self._store.put_rows([Row(n.table, n.partition, n.key, None, n.seq + 1) for n in notes])

    async def _clear_partition(self, where: str) -> None:
        """Delete the rows of this partition of the log; the others' stand beside them."""
        own = row_key(0, self._partition)[11:]
        after: str | None = None
        while page := await self._store.rows(self._table, where, after=after, limit=_PAGE):
            past = [Row(r.table, r.partition, r.key, None, r.seq + 1) for r in page if r.key[11:].startswith(own)]
            if past:
                await self._store.put_rows(past)
            after = page[-1].key


def _unit(period: int, start: int) -> int:
    """Number the day (of minutes: the hour) in which what begins at ``start`` is let go of."""
    return start // (3600 if SECONDS[period] == 60 else 86_400)  # type: ignore[index]
