"""Walking over every aggregate of the CQL archive, by token: for recovery, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from services.ledger.archive import Scanned, StoredEntry
from services.ledger.cql_history import History
from services.runtime.cql import CqlSession

_PARTITIONS: Final = 256
_AT_ONCE: Final = 16
_BYTES: Final = 512 << 10
_LOOK_BACK: Final = 64
_ALL: Final = 1 << 62
_FIRST: Final = -(1 << 63)


class _Place(NamedTuple):
    """Where a scan goes on: behind this version of this key, whose token this is; before the first key, the lowest token."""

    version: int = 0
    token: int = _FIRST
    key: str = ""

    @classmethod
    def read(cls, text: str) -> _Place:
        if not text:
            return cls()
        version, token, key = text.split(":", 2)
        return cls(int(version), int(token), key)

    def __str__(self) -> str:
        return f"{self.version}:{self.token}:{self.key}"


class Scanner:
    """Scans; see `Archive.scan`."""

    def __init__(self, session: CqlSession, history: History) -> None:
        self._session = session
        self._history = history

    async def page(self, after_seq: int, text: str, limit: int) -> Scanned:
        """A page from the place on that the page before gave; empty at the beginning."""
        found: list[tuple[str, StoredEntry]] = []
        size, place = 0, _Place.read(text)
        async for at, entry in self._walk(after_seq, place, limit):
            size += len(entry.data)
            if found and size > _BYTES:
                return Scanned(found, str(place))
            found.append((at.key, entry))
            place = at
            if len(found) >= limit:
                return Scanned(found, str(place))
        return Scanned(found, "")

    async def _walk(self, after_seq: int, place: _Place, limit: int) -> AsyncIterator[tuple[_Place, StoredEntry]]:
        """Every entry above a sequence, each with the place behind it."""
        if place.key:
            async for found in self._aggregate(after_seq, place, limit):
                yield found
        token = place.token
        while keys := await self._keys(token):
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                heads = await asyncio.gather(*(self._history.head(key) for key, bucket, _ in some if not bucket))
                first = [(key, at) for key, bucket, at in some if not bucket]
                for (key, at), head in zip(first, heads, strict=True):
                    if head is not None and head.seq > after_seq:
                        async for found in self._aggregate(after_seq, _Place(0, at, key), limit):
                            yield found
            token = keys[-1][2]

    async def _aggregate(
        self, after_seq: int, place: _Place, limit: int
    ) -> AsyncIterator[tuple[_Place, StoredEntry]]:  # fmt: skip
        version = place.version or await self._before_first(place.key, after_seq)
        while entries := await self._history.up_from(place.key, version, limit):
            for entry in entries:
                version = entry.first_version
                if entry.seq > after_seq:
                    yield _Place(version, place.token, place.key), entry

    async def _before_first(self, key: str, after_seq: int) -> int:
        """The version of the last entry at or below a sequence: from the newest back, as few are above it as a rule."""
        first = await self._history.up_from(key, 0, 1)
        if not first or first[0].seq > after_seq:
            return 0
        before = _ALL
        while page := await self._history.page_down(key, before, _LOOK_BACK):
            for entry in page:
                if entry.seq <= after_seq:
                    return entry.first_version
            before = page[-1].first_version
        return 0

    async def _keys(self, token: int) -> list[tuple[str, int, int]]:
        """The next partitions by token: key, bucket, token."""
        found = await self._session.execute(self._session["keys"], (token, _PARTITIONS))
        return [(key, bucket, at) for key, bucket, at in found]
