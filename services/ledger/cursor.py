"""Delivery by cursor: a watcher is a set of (aggregate, next version), and one flag.

Nothing is queued for anybody. Who keeps up is served from the ring, who is behind from the store in pages; so a stalled reader
costs nothing, loses nothing, and a resume after a day is the same code as live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.ledger import entries
from services.ledger.aggregate import Aggregate
from services.ledger.archive import Archive
from services.ledger.errors import StoreUnavailable
from services.ledger.ids import AggregateId
from services.ledger.ring import NotYet, Wrap, field

_PAGE_ENTRIES = 128
_PAGE_BYTES = 256 << 10
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """A run of events, dense: versions first to last, encoded as repeated field 2 (and wrapped, where the watcher wraps)."""

    aggregate: AggregateId
    first: int
    last: int
    data: bytes


class Cursor:
    """One watcher's place in one aggregate."""

    __slots__ = ("_watcher", "aggregate", "next")

    def __init__(self, aggregate: Aggregate, after: int, watcher: Watcher) -> None:
        self.aggregate = aggregate
        self.next = after + 1
        self._watcher = watcher

    def wake(self) -> None:
        """Something was stored: look again."""
        self._watcher.wake(self)

    async def take(self, archive: Archive, wrap: Wrap | None) -> Frame | None:
        """The next run of events; None where the cursor is at the end. Raises StoreUnavailable."""
        page: tuple[int, bytes] | None = None
        for _ in range(_TRIES):
            aggregate = self.aggregate
            if self.next > aggregate.version:
                return None
            first, ring = self.next, aggregate.ring
            try:
                if page is None and ring is not None and first >= ring.first:
                    last, data = ring.run(first, aggregate.id, wrap)
                else:
                    page = page or await self._page(archive)
                    last, data = page
                    if last < first:
                        return None
                    data = wrap(aggregate.id, data) if wrap else data
            except NotYet as lacking:
                await lacking.ready()
                continue
            self.next = last + 1
            return Frame(aggregate.id, first, last, data)
        raise StoreUnavailable("what it takes to show the events keeps changing")

    async def _page(self, archive: Archive) -> tuple[int, bytes]:
        wanted, until = self.next, self.aggregate.version
        chunks: list[bytes] = []
        size = 0
        for stored in await archive.entries(self.aggregate.id.key, after=wanted - 1, limit=_PAGE_ENTRIES):
            for event in entries.recorded(entries.parse(stored.data)):
                if event.version == wanted and wanted <= until and size < _PAGE_BYTES:
                    chunk = field(event.payload)
                    chunks.append(chunk)
                    size += len(chunk)
                    wanted += 1
        return wanted - 1, b"".join(chunks)


class Watcher:
    """One stream's places in any number of aggregates.

    Args:
        resident: this process's aggregate of an id; it stays in memory while it is watched.
        archive: for those behind the ring.
        wrap: makes a run of events into what the stream sends; called once per run and shared by all watchers that use the
            same function object. It may raise `ring.NotYet`.
        frame_bytes: size at which `ready` gives what it has.
        pace: seconds between two frames of one who keeps up: what is stored meanwhile is gathered. What comes after a pause comes at once,
            and who is behind gets frames as fast as it takes them.

    Attributes:
        flag: set when something may be ready; others may set it to make `ready` return.
    """

    def __init__(
        self,
        resident: Callable[[AggregateId], Aggregate],
        archive: Archive,
        wrap: Wrap | None = None,
        frame_bytes: int = 512 << 10,
        pace: float = 0.0,
    ) -> None:
        self._resident = resident
        self._archive = archive
        self._wrap = wrap
        self._frame_bytes = frame_bytes
        self._cursors: dict[AggregateId, Cursor] = {}
        self._frames: list[Frame] = []  # collected, and kept where a failure or a cancellation came between
        self._size = 0
        self.dirty: dict[Cursor, None] = {}
        self.flag = asyncio.Event()
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wake(self, cursor: Cursor) -> None:
        """There is something to take at a place. The flag goes up now, or when the pace allows."""
        self.dirty[cursor] = None
        if self._timer is not None:
            return
        if self._pace and self._loop.time() < self._not_before:
            self._timer = self._loop.call_at(self._not_before, self._due)
        else:
            self.flag.set()

    def _due(self) -> None:
        self._timer = None
        self.flag.set()

    async def add(self, aggregate: AggregateId, after: int) -> int:
        """Watches an aggregate from the event after `after` on (again: moves there); answers its version now.

        Raises:
            LogUnavailable, StoreUnavailable, HistoryGap: it cannot be loaded.
        """
        self.remove(aggregate)
        resident = self._resident(aggregate)
        cursor = Cursor(resident, after, self)
        self._cursors[aggregate] = cursor
        resident.watchers[cursor] = None  # from here on it stays in memory
        try:
            view = await resident.refresh()
        except BaseException:
            if self._cursors.get(aggregate) is cursor:
                self.remove(aggregate)
            raise
        cursor.wake()
        return view.version

    def remove(self, aggregate: AggregateId) -> None:
        """Watches it no more."""
        cursor = self._cursors.pop(aggregate, None)
        if cursor is not None:
            cursor.aggregate.watchers.pop(cursor, None)
            self.dirty.pop(cursor, None)

    def close(self) -> None:
        """Watches nothing any more. A watcher that is not closed holds its aggregates in memory."""
        for aggregate in list(self._cursors):
            self.remove(aggregate)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def place(self, aggregate: AggregateId) -> int | None:
        """Version of the last event given of an aggregate; None where it is not watched."""
        cursor = self._cursors.get(aggregate)
        return cursor.next - 1 if cursor is not None else None

    async def ready(self) -> list[Frame]:
        """Waits until something is there and gives all that fits `frame_bytes`; empty where only `flag` was set by others.

        Raises:
            StoreUnavailable: pages behind the ring cannot be read now.
        """
        while True:
            if self._timer is None:
                frames = await self.collect()
                if frames:
                    return frames
            await self.flag.wait()
            self.flag.clear()
            if not self.dirty or self._timer is not None:
                return []

    async def collect(self) -> list[Frame]:
        """Gives what is there now, up to `frame_bytes`, without waiting for more; for a stream that has other things to send.

        Raises:
            StoreUnavailable: pages behind the ring cannot be read now.
        """
        for cursor in list(self.dirty):
            if self._size >= self._frame_bytes:
                break
            frame = await cursor.take(self._archive, self._wrap)
            if cursor not in self.dirty:
                continue  # removed meanwhile
            if frame is not None:
                self._frames.append(frame)
                self._size += len(frame.data)
            if frame is None or cursor.next > cursor.aggregate.version:
                self.dirty.pop(cursor, None)
        frames, self._frames, self._size = self._frames, [], 0
        if frames and self._pace and not self.dirty:
            self._not_before = self._loop.time() + self._pace
        return frames
