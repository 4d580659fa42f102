"""The recent events of a watched aggregate, encoded once, and joined once for all watchers at the same place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from services.ledger.ids import AggregateId
from services.ledger.varint import varint

Wrap = Callable[[AggregateId, bytes], bytes]

EVENTS_TAG = b"\x12"
"""Field 2, length-delimited: in every stream's frame the events are `repeated … events = 2`."""

_MOST_EVENTS = 4096
_MOST_BYTES = 4 << 20
_MOST_SHELF_BYTES = 256 << 20
_RUN_EVENTS = 1024
_RUN_BYTES = 256 << 10
_MOST_RUNS = 64


class NotYet(Exception):
    """Raised by a wrap that lacks something: who called it awaits `ready()`, and calls it again."""

    def __init__(self, ready: Callable[[], Awaitable[None]]) -> None:
        super().__init__("a wrap lacks something")
        self.ready = ready


def field(payload: bytes) -> bytes:
    """An event as one element of the repeated field of events."""
    return EVENTS_TAG + varint(len(payload)) + payload


class Ring:
    """Encoded events from version `first` on, bounded in number and bytes; the oldest are let go first."""

    __slots__ = ("_bytes", "_chunks", "_runs", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._runs: dict[tuple[int, Wrap | None], tuple[int, bytes]] = {}

    @property
    def size(self) -> int:
        """Bytes of the events it holds."""
        return self._bytes

    def clear(self) -> None:
        """Lets go of all events; who wants them reads the store."""
        self.first += len(self._chunks)
        self._chunks, self._bytes = [], 0
        self._runs.clear()

    def push(self, payloads: Sequence[bytes]) -> None:
        """Adds the next events."""
        chunks = [field(payload) for payload in payloads]
        self._chunks += chunks
        self._bytes += sum(map(len, chunks))
        self._runs.clear()
        if len(self._chunks) > _MOST_EVENTS or self._bytes > _MOST_BYTES:
            self._trim()

    def run(self, version: int, aggregate: AggregateId, wrap: Wrap | None) -> tuple[int, bytes]:
        """All events from `version` on that fit one frame: the last one's version and their joined bytes.

        Built once per place and wrapping, and shared by everybody who asks for the same. Raises what `wrap` raises.
        """
        known = self._runs.get((version, wrap))
        if known is not None:
            return known
        start = version - self.first
        chunks, last, size = self._chunks, start, 0
        end = min(len(chunks), start + _RUN_EVENTS)
        while last < end and (size == 0 or size + len(chunks[last]) <= _RUN_BYTES):
            size += len(chunks[last])
            last += 1
        joined = b"".join(chunks[start:last])
        found = (self.first + last - 1, wrap(aggregate, joined) if wrap else joined)
        if len(self._runs) < _MOST_RUNS:
            self._runs[(version, wrap)] = found
        return found

    def forget_runs(self) -> None:
        """Lets go of what was wrapped; the next who asks has it wrapped anew."""
        self._runs.clear()

    def _trim(self) -> None:
        drop = max(1, len(self._chunks) // 2)
        while len(self._chunks) - drop > 1 and self._bytes - sum(map(len, self._chunks[:drop])) > _MOST_BYTES:
            drop += max(1, (len(self._chunks) - drop) // 2)
        self._bytes -= sum(map(len, self._chunks[:drop]))
        del self._chunks[:drop]
        self.first += drop


class Shelf:
    """All rings of a process, bounded in bytes together: those longest without a new event are cleared first."""

    def __init__(self, most_bytes: int = _MOST_SHELF_BYTES) -> None:
        self._most = most_bytes
        self._sizes: OrderedDict[Ring, int] = OrderedDict()
        self._bytes = 0

    def push(self, ring: Ring, payloads: Sequence[bytes]) -> None:
        """Adds the next events to a ring, and clears others where there is no room for all."""
        ring.push(payloads)
        self._bytes += ring.size - self._sizes.pop(ring, 0)
        self._sizes[ring] = ring.size
        while self._bytes > self._most and len(self._sizes) > 1:
            oldest, size = self._sizes.popitem(last=False)
            oldest.clear()
            self._bytes -= size

    def forget_runs(self) -> None:
        """Lets go of what was wrapped, in all rings: for wraps that would now say something else."""
        for ring in self._sizes:
            ring.forget_runs()

    def drop(self, ring: Ring | None) -> None:
        """Forgets a ring that nobody reads any more."""
        if ring is not None:
            self._bytes -= self._sizes.pop(ring, 0)
