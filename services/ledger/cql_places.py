"""Where things are in the CQL archive's partitions, and how they are seen to be whole: arithmetic without a store.

A partition holds one bucket of one aggregate: its entries until their bytes, as `Head.size` counts them, pass a multiple of
`BUCKET_BYTES`. The size is a function of the entries alone, so whoever stores an entry puts it in the same bucket, and whoever stores a
bucket's last entry knows that it is the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from services.ledger.archive import Head, StoredEntry, entry_size

BUCKET_BYTES: Final = 4 << 20
"""Bytes of entries in a bucket, before the one that ends it."""
ENTRIES: Final = 0
"""The part of a bucket that holds entries."""
ID_PARTS: Final = 16
"""Into how many parts a bucket's request ids are spread, so that a look-up reads a sixteenth of them."""
ID_BYTES: Final = 16


class Place(NamedTuple):
    """Where an entry goes: its bucket, and whether it is that bucket's last."""

    bucket: int
    last: bool


def place_of(head: Head, data: bytes, bucket_bytes: int = BUCKET_BYTES) -> Place:
    """The place of the entry that `head` ends with."""
    before = max(0, head.size - entry_size(data))
    bucket = before // bucket_bytes
    return Place(bucket, head.size // bucket_bytes > bucket)


def part_of(request_id: bytes) -> int:
    """The part of a bucket where a request id is."""
    return 1 + request_id[-1] % ID_PARTS


def by_part(request_ids: Iterable[bytes]) -> dict[int, bytes]:
    """Request ids as a bucket keeps them: joined, by part."""
    parts: dict[int, bytes] = {}
    for request_id in request_ids:
        part = part_of(request_id)
        parts[part] = parts.get(part, b"") + request_id
    return parts


def holds(joined: bytes, request_id: bytes) -> bool:
    """True: the id is one of those joined."""
    place = joined.find(request_id)
    while place >= 0 and place % ID_BYTES:
        place = joined.find(request_id, place + 1)
    return place >= 0


class Line(NamedTuple):
    """A line of the statements `entries_up` and `entries_down`: an entry, and its bucket's static columns."""

    version: int
    seq: int
    data: bytes
    head_version: int | None
    head_seq: int | None
    newest_request_ms: int | None
    size: int | None
    last_bucket: int | None

    @property
    def head(self) -> Head | None:
        """The aggregate's head as far as this bucket goes; None where the writer of its first entry died before that."""
        if self.head_version is None or self.head_seq is None:
            return None
        return Head(self.head_version, self.head_seq, self.newest_request_ms or 0, self.size or 0)

    @property
    def entry(self) -> StoredEntry:
        """The entry."""
        return StoredEntry(self.version, self.seq, self.data)


def lines(rows: Iterable[Sequence[Any]]) -> list[Line]:
    """What the store answered."""
    return [Line(*row) for row in rows]


def valid_up(entries: Iterable[StoredEntry], head: Head) -> list[StoredEntry]:
    """Of entries in order of version, those at or below the head that no later life of the log passed over.

    Sequences rise along an aggregate's entries. One that is lower than its predecessor's was stored late, by a writer of a life that
    was lost, at a version that a larger entry of the next life covers.
    """
    found: list[StoredEntry] = []
    reached = 0
    for entry in entries:
        if entry.seq > reached and _counts(entry, head):
            found.append(entry)
            reached = entry.seq
    return found


def valid_down(entries: Iterable[StoredEntry], head: Head) -> list[StoredEntry]:
    """The same of entries from the newest back. The last of them may yet turn out to be passed over: read one more than is wanted."""
    found: list[StoredEntry] = []
    for entry in entries:
        if not _counts(entry, head):
            continue
        while found and found[-1].seq < entry.seq:
            found.pop()
        found.append(entry)
    return found


def _counts(entry: StoredEntry, head: Head) -> bool:
    """At or below the head; directly above its version only where it is the empty entry the head ends with."""
    return entry.seq <= head.seq and (entry.first_version <= head.version or entry.seq == head.seq)
