"""The copies of the simulated store: cells in which the higher log sequence wins, and what a reader makes of several copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.ledger.archive import Head, Row, Snapshot, StoredEntry, Write

Cell = tuple[int, Any]
"""(sequence, value): the higher sequence wins."""


class Part:
    """What one copy holds of one aggregate.

    Attributes:
        head: how far it is wholly stored.
        entries: first version to (sequence, bytes).
        ids: request id to (sequence, first version).
    """

    __slots__ = ("entries", "head", "ids", "newest_ms", "snapshot")

    def __init__(self) -> None:
        self.head: Head | None = None
        self.newest_ms = 0
        self.entries: dict[int, tuple[int, bytes]] = {}
        self.ids: dict[bytes, tuple[int, int]] = {}
        self.snapshot: Snapshot | None = None

    def copy(self) -> Part:
        """As it is now."""
        other = Part()
        other.head, other.newest_ms, other.snapshot = self.head, self.newest_ms, self.snapshot
        other.entries, other.ids = dict(self.entries), dict(self.ids)
        return other

    def same(self, other: Part | None) -> bool:
        """True: another copy holds the same entries and the same head."""
        return other is not None and self.head == other.head and self.entries == other.entries

    def put_head(self, head: Head, stamp: int) -> None:
        """The head; `stamp`: what decides against another one."""
        self.newest_ms = max(self.newest_ms, head.newest_request_ms)
        if self.head is None or stamp >= self.head.seq:
            self.head = head

    def put_entry(self, first: int, cell: tuple[int, bytes]) -> None:
        """An entry."""
        known = self.entries.get(first)
        if known is None or cell >= known:
            self.entries[first] = cell

    def put(self, write: Write) -> None:
        """All of one entry, but its rows."""
        entry = write.entry
        self.put_entry(entry.first_version, (entry.seq, entry.data))
        for request_id in write.request_ids:
            known = self.ids.get(request_id)
            if known is None or entry.seq >= known[0]:
                self.ids[request_id] = (entry.seq, entry.first_version)
        self.put_head(write.head, write.head.seq)

    def put_snapshot(self, snapshot: Snapshot) -> None:
        """A snapshot."""
        if self.snapshot is None or snapshot.seq >= self.snapshot.seq:
            self.snapshot = snapshot

    def merge(self, other: Part) -> None:
        """Takes what another copy has that is newer."""
        if other.head is not None:
            self.put_head(other.head, other.head.seq)
        self.newest_ms = max(self.newest_ms, other.newest_ms)
        for first, cell in other.entries.items():
            self.put_entry(first, cell)
        for request_id, found in other.ids.items():
            self.ids[request_id] = max(found, self.ids.get(request_id, found))
        if other.snapshot is not None:
            self.put_snapshot(other.snapshot)

    def known_head(self) -> Head | None:
        """The head with the time of the newest request id ever."""
        head = self.head
        if head is None or head.newest_request_ms == self.newest_ms:
            return head
        return Head(head.version, head.seq, self.newest_ms, head.size)

    def last(self) -> StoredEntry | None:
        """The entry that the head ends with."""
        if self.head is None:
            return None
        found = ((first, cell) for first, cell in self.entries.items() if cell[0] == self.head.seq)
        return next((StoredEntry(first, *cell) for first, cell in found), None)

    def shown(self, *, strict: bool) -> list[StoredEntry]:
        """Entries at or below the head, oldest first. `strict`: without those that a later life of the log passed over."""
        head = self.head
        found: list[StoredEntry] = []
        if head is None:
            return found
        reached = 0
        for first in sorted(self.entries):
            seq, data = self.entries[first]
            if seq > head.seq or (strict and (seq <= reached or (first > head.version and seq != head.seq))):
                continue
            reached = seq
            found.append(StoredEntry(first, seq, data))
        return found


class Copy:
    """One copy of the store."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.rows: dict[tuple[str, str], dict[str, Cell]] = {}
        self.cells: dict[tuple[Any, ...], Cell] = {}

    def part(self, key: str) -> Part:
        """What it holds of an aggregate, to be changed."""
        part = self.parts.get(key)
        if part is None:
            part = self.parts[key] = Part()
        return part

    def put_rows(self, rows: Iterable[Row], seq: int | None = None) -> None:
        """Rows of a read model."""
        for row in rows:
            place = self.rows.setdefault((row.table, row.partition), {})
            stamp = row.seq if seq is None else seq
            known = place.get(row.key)
            if known is None or stamp >= known[0]:
                place[row.key] = (stamp, row.value)

    def put(self, name: tuple[Any, ...], cell: Cell) -> None:
        """One cell of its own: an epoch, a position, an identity, the newest sequence."""
        known = self.cells.get(name)
        if known is None or cell >= known:
            self.cells[name] = cell

    def clone(self) -> Copy:
        """A backup."""
        other = Copy()
        other.parts = {key: part.copy() for key, part in self.parts.items()}
        other.rows = {name: dict(rows) for name, rows in self.rows.items()}
        other.cells = dict(self.cells)
        return other


def merged_part(parts: Sequence[Part | None]) -> Part:
    """What a reader of several copies sees of an aggregate."""
    present = [part for part in parts if part is not None]
    if not present:
        return Part()
    merged = present[0].copy()
    for part in present[1:]:
        merged.merge(part)
    return merged


def merged_rows(found: Sequence[dict[str, Cell]]) -> dict[str, Cell]:
    """What a reader of several copies sees of a partition of rows."""
    merged: dict[str, Cell] = dict(found[0])
    for rows in found[1:]:
        for key, cell in rows.items():
            known = merged.get(key)
            if known is None or (cell[0], cell[1] or b"") > (known[0], known[1] or b""):
                merged[key] = cell
    return merged


def ends_at(entries: Iterable[StoredEntry], snapshot: Snapshot) -> bool:
    """True: the entry that holds the snapshot's version has its sequence (rule 7)."""
    last: StoredEntry | None = None
    for entry in entries:
        if entry.first_version <= snapshot.version:
            last = entry
    return last is not None and last.seq == snapshot.seq


def pages(entries: Iterable[StoredEntry], limit: int, most_bytes: int) -> Iterator[StoredEntry]:
    """The first entries, up to a number and about so many bytes."""
    size = count = 0
    for entry in entries:
        yield entry
        size, count = size + len(entry.data), count + 1
        if count >= limit or size >= most_bytes:
            return
