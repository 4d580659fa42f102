"""An aggregate's entries in the CQL archive: stored in one mutation with their ids and the head, read in pages over buckets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from services.ledger import entries as codec
from services.ledger.archive import Head, StoredEntry, Write
from services.ledger.cql_places import (
    BUCKET_BYTES,
    Line,
    by_part,
    holds,
    lines,
    part_of,
    place_of,
    valid_down,
    valid_up,
)
from services.ledger.errors import HistoryGap
from services.ledger.ids import milliseconds_of
from services.runtime.cql import CqlSession

_ALL: Final = (1 << 63) - 1
_FEW: Final = 2
_LOOK_BACK: Final = 64
_PAGE_BYTES: Final = 1 << 20
_BUCKETS_AT_ONCE: Final = 4
_MOST_SURE: Final = 100_000


class Tip:
    """The newest of an aggregate: its head, the bucket that holds its last entry, and that bucket's newest lines (newest first).

    Attributes:
        whole: the lines are all the bucket has.
    """

    __slots__ = ("bucket", "head", "last", "lines", "whole")

    def __init__(self, head: Head, bucket: int, found: list[Line], last: StoredEntry, whole: bool) -> None:
        self.head, self.bucket, self.lines, self.last, self.whole = head, bucket, found, last, whole


class History:
    """Entries, their request ids and heads.

    Args:
        session: the store.
        bucket_bytes: see `cql_places`; the same in all processes, and never changed.
    """

    def __init__(self, session: CqlSession, bucket_bytes: int = BUCKET_BYTES) -> None:
        self._session = session
        self._bucket_bytes = bucket_bytes
        self._put_entry, self._put_ids = session["put_entry"], session["put_ids"]
        self._down, self._up = session["entries_down"], session["entries_up"]
        self._stored_elsewhere: Callable[[int], bool] = lambda _: False
        self._sure: dict[int, None] = {}

    def trust(self, stored: Callable[[int], bool]) -> None:
        """See `Archive.trust`."""
        self._stored_elsewhere = stored

    async def put(self, write: Write) -> None:
        """Stores an entry with its ids and the head, durably. Its rows are stored before, by the caller."""
        entry, head = write.entry, write.head
        bucket, last = place_of(head, entry.data, self._bucket_bytes)
        if last:
            await self._announce_bucket(write.key, bucket + 1, head)
        values = (
            write.key, bucket, entry.first_version, entry.seq, entry.data,
            head.version, head.seq, head.newest_request_ms, head.size, entry.seq,
        )  # fmt: skip
        parts: list[tuple[Any, Sequence[Any]]] = [(self._put_entry, values)]
        if write.request_ids:
            seq, version = entry.seq, entry.first_version
            parts += [
                (self._put_ids, (write.key, bucket, part, version, seq, joined, seq))
                for part, joined in by_part(write.request_ids).items()
            ]
        await self._session.batch("store", parts)
        self._note(entry.seq)

    async def head(self, key: str) -> Head | None:
        """See `Archive.head`."""
        tip = await self.tip(key, _FEW)
        return tip.head if tip is not None else None

    async def tip(self, key: str, limit: int) -> Tip | None:
        """The newest of an aggregate, durable; None where nothing is stored. At least one line, about `limit`."""
        found = await self._newest(key, limit)
        if found is not None:
            await self._make_sure(key, found.head, found.last)
        return found

    async def page_up(self, key: str, after: int, limit: int) -> list[StoredEntry]:
        """Entries from the one that holds version `after + 1` on, at most `limit` and about `_PAGE_BYTES`."""
        floor, above = await asyncio.gather(
            self._read(self._down, key, 0, after + 1, _FEW), self._read(self._up, key, 0, after + 1, limit)
        )
        found = floor + above
        if not found:
            return []
        if found[0].last_bucket:
            return await self._page_up_far(key, after, limit)
        head = found[0].head
        if head is None or after >= head.version:
            return []
        return await self._shown(key, head, _from_floor(floor, above, head, after)[:limit])

    async def page_down(self, key: str, before: int, limit: int) -> list[StoredEntry]:
        """Entries from the one that holds version `before - 1` back, at most `limit` and about `_PAGE_BYTES`."""
        start = before - 1
        found = await self._read(self._down, key, 0, start, limit + 1)
        if not found:
            return []
        head = found[0].head
        if found[0].last_bucket:
            tip = await self.tip(key, _FEW)
            if tip is None:
                return []
            return await self._page_down_far(key, tip, min(start, tip.head.version), limit)
        if head is None:
            return []
        if found[0].version > head.version:  # late entries of a lost life, or an empty one, above the head
            found = await self._read(self._down, key, 0, head.version, limit + 1)
        return await self._shown(key, head, valid_down((line.entry for line in found), head)[:limit])

    async def find(self, key: str, request_id: bytes) -> StoredEntry | None:
        """See `Archive.find_request`. From the newest bucket back; a bucket all of whose ids are older ends the search."""
        tip = await self.tip(key, _FEW)
        if tip is None:
            return None
        made_ms = milliseconds_of(request_id)
        if made_ms > tip.head.newest_request_ms > 0:
            return None
        bucket = tip.bucket
        while bucket >= 0:
            some = range(bucket, max(-1, bucket - _BUCKETS_AT_ONCE), -1)
            answers = await asyncio.gather(*(self._ids(key, one, request_id) for one in some))
            for one, (versions, newest_ms) in zip(some, answers, strict=True):
                for version, seq in versions:
                    if (entry := await self._entry_of(key, one, version, seq, tip.head)) is not None:
                        return entry
                if newest_ms is not None and newest_ms < made_ms:
                    return None
            bucket = some[-1] - 1
        return None

    async def up_from(self, key: str, after_version: int, limit: int) -> list[StoredEntry]:
        """Entries whose first version is above `after_version`, oldest first; for scans, which begin where an entry ended."""
        tip = await self.tip(key, _FEW)
        if tip is None:
            return []
        starts = await self._starts(key, tip.bucket)
        found: list[Line] = []
        for bucket in range(_bucket_at(starts, after_version), tip.bucket + 1):
            found += await self._read(self._up, key, bucket, after_version, limit - len(found))
            if len(found) >= limit or _bytes(found) >= _PAGE_BYTES:
                break
        return _cut(valid_up((line.entry for line in found), tip.head))

    async def _newest(self, key: str, limit: int) -> Tip | None:
        found = await self._read(self._down, key, 0, _ALL, limit)
        if not found:
            return None
        newest = found[0].last_bucket or 0
        candidates = {0: found}
        if newest:
            # The last bucket may be empty yet, or hold only what a lost life left: the one before it says so.
            pair = (newest, newest - 1) if newest > 1 else (newest,)
            limit = min(limit, _FEW)  # entries of long histories tend to be large
            answers = await asyncio.gather(*(self._read(self._down, key, one, _ALL, limit) for one in pair))
            candidates.update(zip(pair, answers, strict=True))
        best: tuple[int, Head] | None = None
        for bucket, some in candidates.items():
            head = some[0].head if some else None
            if head is not None and (best is None or head.seq > best[1].seq):
                best = bucket, head
        if best is None:
            return None
        bucket, head = best
        return await self._tip(key, bucket, head, candidates[bucket], limit)

    async def _tip(self, key: str, bucket: int, head: Head, found: list[Line], limit: int) -> Tip:
        """Finds the last entry, which is the newest line but where a lost life left some above it."""
        asked = limit
        while (last := next((line for line in found if line.seq == head.seq), None)) is None:
            if len(found) < asked:
                raise HistoryGap("the store holds a head without its entry")
            asked *= _LOOK_BACK
            found = await self._read(self._down, key, bucket, _ALL, asked)
        return Tip(head, bucket, found, last.entry, len(found) < asked)

    async def _page_up_far(self, key: str, after: int, limit: int) -> list[StoredEntry]:
        tip = await self.tip(key, _FEW)
        if tip is None or after >= tip.head.version:
            return []
        starts = await self._starts(key, tip.bucket)
        bucket = _bucket_at(starts, after + 1)
        floor, found = await asyncio.gather(
            self._read(self._down, key, bucket, after + 1, _FEW), self._read(self._up, key, bucket, after + 1, limit)
        )
        while len(found) < limit and bucket < tip.bucket and _bytes(found) < _PAGE_BYTES:
            bucket += 1
            found = found + await self._read(self._up, key, bucket, after + 1, limit - len(found))
        return _cut(_from_floor(floor, found, tip.head, after)[:limit])

    async def _page_down_far(self, key: str, tip: Tip, start: int, limit: int) -> list[StoredEntry]:
        starts = await self._starts(key, tip.bucket)
        bucket = _bucket_at(starts, start)
        found: list[Line] = []
        while bucket >= 0 and len(found) <= limit and _bytes(found) < _PAGE_BYTES:
            below = await self._read(self._down, key, bucket, start, limit + 1 - len(found))
            found += [line for line in below if line.version >= starts.get(bucket, 1)]
            bucket -= 1
        return _cut(valid_down((line.entry for line in found), tip.head)[:limit])

    async def _starts(self, key: str, newest: int) -> dict[int, int]:
        """First version by bucket; a store that lacks one says so by a gap."""
        if not newest:
            return {0: 1}
        found = await self._session.execute(self._session["buckets"], (key, newest))
        return {0: 1, **dict(found)}

    async def _ids(self, key: str, bucket: int, request_id: bytes) -> tuple[list[tuple[int, int]], int | None]:
        """Where a bucket says the id is, as (version, sequence), likeliest first; and how new its ids are."""
        found = await self._session.execute(self._session["ids"], (key, bucket, part_of(request_id)))
        versions = [(version, seq) for version, seq, joined, _ in found if holds(joined, request_id)]
        return sorted(versions, key=lambda pair: -pair[1]), found[0][3] if found else None

    async def _entry_of(self, key: str, bucket: int, version: int, seq: int, head: Head) -> StoredEntry | None:
        """The entry an id's line speaks of, if that still is the one at its version and counts."""
        below = await self._read(self._down, key, bucket, version, _FEW)
        valid = valid_down((line.entry for line in below), head)
        if not valid or (valid[0].first_version, valid[0].seq) != (version, seq):
            return None
        return valid[0]

    async def _announce_bucket(self, key: str, bucket: int, head: Head) -> None:
        """Says where the next bucket begins, before the entry that ends this one is stored."""
        session = self._session
        await asyncio.gather(
            session.execute(session["put_bucket"], (key, bucket, head.version + 1, head.seq)),
            session.execute(session["put_last_bucket"], (head.seq, bucket, key)),
        )

    async def _shown(self, key: str, head: Head, found: list[StoredEntry]) -> list[StoredEntry]:
        """A page, cut; the last entry of all is made durable before it is shown."""
        page = _cut(found)
        last = next((entry for entry in page if entry.seq == head.seq), None)
        if last is not None:
            await self._make_sure(key, head, last)
        return page

    async def _make_sure(self, key: str, head: Head, last: StoredEntry) -> None:
        """Writes the last entry back unless it is known to be on a quorum: its writer may have died with it on fewer."""
        if head.seq in self._sure or self._stored_elsewhere(head.seq):
            return
        try:
            ids = [command.request_id for command in codec.parse(last.data).commands]
        except HistoryGap:
            ids = []  # what cannot be read has no ids that could be told
        await self.put(Write(key, last, head, ids))

    def _note(self, seq: int) -> None:
        sure = self._sure
        sure[seq] = None
        if len(sure) > _MOST_SURE:
            for oldest in list(islice(sure, _MOST_SURE // 4)):
                del sure[oldest]

    async def _read(self, statement: Any, key: str, bucket: int, version: int, limit: int) -> list[Line]:
        return lines(await self._session.execute(statement, (key, bucket, version, limit)))


def _from_floor(floor: Sequence[Line], above: Sequence[Line], head: Head, after: int) -> list[StoredEntry]:
    """Entries from the one that holds version `after + 1` on. `floor`: the two at or below that version, newest first."""
    held = [*reversed(floor), *above]
    valid = valid_up((line.entry for line in held), head)
    start = max((n for n, entry in enumerate(valid) if entry.first_version <= after + 1), default=0)
    return valid[start:]


def _bucket_at(starts: dict[int, int], version: int) -> int:
    return max(bucket for bucket, first in starts.items() if first <= max(version, 1))


def _bytes(found: Sequence[Line]) -> int:
    return sum(len(line.data) for line in found)


def _cut(found: Sequence[StoredEntry]) -> list[StoredEntry]:
    """The first entries up to some bytes: one entry may hold a thousand events, and a page of them is one answer."""
    page: list[StoredEntry] = []
    size = 0
    for entry in found:
        page.append(entry)
        size += len(entry.data)
        if size >= _PAGE_BYTES:
            break
    return page
