"""The port to the store: what the ledger asks of SQLite, ScyllaDB or Apache Cassandra.

All writes are idempotent upserts in which the higher log sequence wins, in any order and any number of times. Nothing above an
aggregate's head is ever answered, and what was answered once stays true whichever copy is lost afterwards. One contract suite runs on
every adapter: `tests/contract`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Head:
    """How far an aggregate is wholly stored.

    Attributes:
        version: of its last event.
        seq: log sequence of its last entry.
        newest_request_ms: time of the newest request id ever applied to it, so that a newer id needs no look-up; never falls from
            one entry to the next.
        size: bytes of all its entries up to this one, as `entry_size` counts them. A function of the entries alone, so that whoever
            stores an entry finds the same place for it in a store that cuts long histories into parts.
    """

    version: int
    seq: int
    newest_request_ms: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry as stored: its first version, its log sequence, the `tradewind.ledger.v1.Entry` bytes."""

    first_version: int
    seq: int
    data: bytes


PAGE_BYTES = 512 << 10
"""A page of a walk over the store ends after so much, or else after one line: it is held whole in memory, and goes over the wire."""
ENTRY_OVERHEAD = 128
"""Bytes that an entry takes beside its data: keys, and what a store keeps with every row."""


def entry_size(data: bytes) -> int:
    """What one entry adds to `Head.size`."""
    return len(data) + ENTRY_OVERHEAD


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a read model.

    Attributes:
        table: which read model; one that holds secrets has a name that ends in `_keys`, and its rows are written over, never deleted.
        partition: what is read together; begins with the tenant.
        key: place in the partition; sorts bytewise.
        value: what is kept; None deletes.
        seq: the higher one wins; the ledger sets it for rows that come with events.
    """

    table: str
    partition: str
    key: str
    value: bytes | None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state at a version; counts only if the entry that ends at that version has this sequence."""

    version: int
    seq: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """All that one entry writes: the entry itself, its request ids, its read-model rows, and then the head."""

    key: str
    entry: StoredEntry
    head: Head
    request_ids: Sequence[bytes] = ()
    rows: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load reads: the head, the snapshot if it counts, and the entries after it (or all), oldest first."""

    head: Head | None
    snapshot: Snapshot | None
    entries: Sequence[StoredEntry]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Position:
    """How far a consumer is: everything at or below `seq` of life `epoch` of the source's log is taken."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Scanned:
    """A page of a scan: (key, entry) pairs, and where to go on (only the archive can read it); empty at the end.

    A page may hold nothing and still say where to go on.
    """

    entries: Sequence[tuple[str, StoredEntry]] = field(default=())
    next_place: str = ""


@dataclass(frozen=True, slots=True)
class ScannedRows:
    """A page of rows, and where to go on (only the archive can read it); empty at the end. It may hold nothing and still say where."""

    rows: Sequence[Row] = field(default=())
    next_place: str = ""


class Archive(Protocol):
    """The store. Every method raises `errors.StoreUnavailable` where the store cannot do it now."""

    async def close(self) -> None:
        """Finishes what is queued and lets go of the store."""

    def trust(self, stored: Callable[[int], bool]) -> None:
        """Tells which log sequences are known to be stored by others, on as many copies as an answer needs.

        A store of several copies makes sure of everything else it reads, before it answers it; one of a single copy need not.
        """

    async def identity(self) -> str | None:
        """The id of this store's contents; None where it has none: it is new, or was wiped."""

    async def put_identity(self, identity: str) -> None:
        """Gives the store's contents an id; a restored store gets another, so that nobody trusts what it knew of the old one."""

    async def epoch(self, service: str) -> int | None:
        """The registered life of a service's log; None where none ever was."""

    async def register_epoch(self, service: str, epoch: int) -> int:
        """Registers a life; the highest one wins. Answers the one registered afterwards."""

    async def newest_seq(self) -> int:
        """The highest log sequence of any stored entry; 0 where there is none. May lag behind by a moment, never ahead."""

    async def store(self, write: Write) -> None:
        """Stores one entry: rows and ids first, then the head. Many callers' writes share one transaction."""

    async def load(self, key: str) -> Loaded:
        """Reads an aggregate: at most some thousand entries; `complete` is False where more follow (read on with `entries`).

        The answer is durable: every later load sees it, or more.
        """

    async def head(self, key: str) -> Head | None:
        """Reads an aggregate's head; durable as what `load` answers."""

    async def entries(
        self, key: str, *, after: int = 0, before: int | None = None, limit: int
    ) -> Sequence[StoredEntry]:
        """Reads entries at or below the head.

        Oldest first from the entry that holds version `after + 1` on; with `before`: newest first from the entry that holds
        version `before - 1` back. At most `limit` entries, at least one where there is any.
        """

    async def find_request(self, key: str, request_id: bytes) -> StoredEntry | None:
        """The entry, at or below the head, that may carry a request id; a hint that the caller verifies."""

    async def put_snapshot(self, key: str, snapshot: Snapshot) -> None:
        """Keeps a snapshot of the stored prefix."""

    async def row(self, table: str, partition: str, key: str) -> Row | None:
        """Reads one row of a read model."""

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        """Reads a page of a partition in order of key, from beyond `after`."""

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """Upserts rows; the higher `seq` wins."""

    async def position(self, role: str, source: str, partition: int) -> Position | None:
        """Where a consumer is, as last kept."""

    async def put_position(self, role: str, source: str, partition: int, position: Position) -> None:
        """Keeps where a consumer is; never goes back."""

    async def scan(self, *, after_seq: int, place: str = "", limit: int) -> Scanned:
        """Entries above a log sequence, at or below their heads, aggregate by aggregate, each one's oldest first.

        From `place` on, which the page before gave. At most `limit` entries and about half a megabyte, at least one entry where
        there is any.
        """

    async def scan_rows(self, table: str, *, place: str = "", limit: int) -> ScannedRows:
        """All rows of a read model, partition by partition in no certain order, from `place` on, which the page before gave.

        At most `limit` rows and half a megabyte, or else one row. Rows that are written meanwhile may be in it or not; looks at the whole
        store, so it is for backups only.
        """

    async def scrub(self) -> None:
        """Makes sure that nothing of what was deleted or overwritten can be read out of the store's files, as far as the store can do
        that by itself: a store that rewrites its files does so in its own time."""
