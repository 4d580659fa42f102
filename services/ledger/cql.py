"""The archive in a CQL store, ScyllaDB or Apache Cassandra: one keyspace a service, any number of processes on it.

An answered write is on a quorum of the copies in its data centre. What a read answers is made durable first (`Archive.trust`). There is no
comparison in the store and nothing is locked: the log decides, and the higher log sequence wins. Tables and arithmetic: docs/store.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from opentelemetry.metrics import Meter

from services.ledger.archive import Head, Loaded, Position, Row, Scanned, ScannedRows, Snapshot, StoredEntry, Write
from services.ledger.cql_history import History, Tip
from services.ledger.cql_places import BUCKET_BYTES, valid_down
from services.ledger.cql_rows import Rows
from services.ledger.cql_scan import RowScanner, Scanner
from services.ledger.cql_snapshots import Snapshots
from services.ledger.cql_statements import STATEMENTS
from services.ledger.errors import StoreUnavailable
from services.runtime.cql import CqlSession, CqlSettings

# Small aggregates come whole with their head; of a hot one, an entry may hold a thousand events.
_LOAD_NEWEST: Final = 8
_LOAD_PAGE: Final = 4096
_KEEP_NEWEST_S: Final = 0.25


class CqlArchive:
    """An `archive.Archive` in a CQL store. Make it with `open`."""

    def __init__(self, session: CqlSession, sliced: Mapping[str, int], bucket_bytes: int = BUCKET_BYTES) -> None:
        self._session = session
        self._history = History(session, bucket_bytes)
        self._rows = Rows(session, sliced)
        self._snapshots = Snapshots(session)
        self._scanner = Scanner(session, self._history)
        self._row_scanner = RowScanner(session)
        self._newest = _Newest(session)

    @classmethod
    async def open(
        cls,
        settings: CqlSettings,
        *,
        sliced: Mapping[str, int] | None = None,
        meter: Meter | None = None,
        patience: float | None = None,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> CqlArchive:
        """Opens the archive; waits for as long as the store or its tables are not there.

        Args:
            settings: where the store is, and which keyspace.
            sliced: see `cql_rows.Rows`; the same in all processes, and never changed for a read model that has rows.
            meter: for latencies by statement.
            patience: seconds after which waiting ends; None waits for ever.
            bucket_bytes: for tests, which have no time for long histories.

        Raises:
            StoreUnavailable: patience ended.
        """
        session = await CqlSession.open(settings, STATEMENTS, meter, patience=patience, raises=StoreUnavailable)
        return cls(session, sliced or {}, bucket_bytes)

    async def close(self) -> None:
        """Waits for what is under way and lets go of the store."""
        await self._newest.close()
        await self._session.close()

    def trust(self, stored: Callable[[int], bool]) -> None:
        """See `Archive.trust`."""
        self._history.trust(stored)

    async def identity(self) -> str | None:
        """See `Archive.identity`."""
        found = await self._session.execute(self._session["identity"], ())
        return found[0][0] if found else None

    async def put_identity(self, identity: str) -> None:
        """See `Archive.put_identity`."""
        await self._session.execute(self._session["put_identity"], (identity,))

    async def epoch(self, service: str) -> int | None:
        """See `Archive.epoch`."""
        found = await self._session.execute(self._session["life"], (service,))
        return found[0][0] if found else None

    async def register_epoch(self, service: str, epoch: int) -> int:
        """See `Archive.register_epoch`: its own timestamp, so the highest wins without a comparison."""
        await self._session.execute(self._session["put_life"], (service, epoch, epoch))
        registered = await self.epoch(service)
        return epoch if registered is None else registered

    async def newest_seq(self) -> int:
        """See `Archive.newest_seq`."""
        return await self._newest.read()

    async def store(self, write: Write) -> None:
        """See `Archive.store`: rows acknowledged first, then entry, ids and head in one mutation of one partition."""
        if write.rows:
            await self._rows.put(write.rows, write.entry.seq)
        await self._history.put(write)
        self._newest.note(write.entry.seq)

    async def load(self, key: str) -> Loaded:
        """See `Archive.load`."""
        tip, snapshot = await asyncio.gather(self._history.tip(key, _LOAD_NEWEST), self._snapshots.get(key))
        if tip is None:
            return Loaded(None, None, [])
        if snapshot is not None and not await self._counts(key, snapshot, tip):
            snapshot = None
        after = snapshot.version if snapshot is not None else 0
        if after >= tip.head.version:
            return Loaded(tip.head, snapshot, [])
        found = _after(tip, after)
        if found is None:
            found = await self._history.page_up(key, after, _LOAD_PAGE)
            found = [entry for entry in found if entry.seq <= tip.head.seq]  # others may have gone on meanwhile
        return Loaded(tip.head, snapshot, found, complete=bool(found) and found[-1].seq >= tip.head.seq)

    async def head(self, key: str) -> Head | None:
        """See `Archive.head`."""
        return await self._history.head(key)

    async def entries(
        self, key: str, *, after: int = 0, before: int | None = None, limit: int
    ) -> Sequence[StoredEntry]:
        """See `Archive.entries`."""
        if before is None:
            return await self._history.page_up(key, after, limit)
        return await self._history.page_down(key, before, limit)

    async def find_request(self, key: str, request_id: bytes) -> StoredEntry | None:
        """See `Archive.find_request`."""
        return await self._history.find(key, request_id)

    async def put_snapshot(self, key: str, snapshot: Snapshot) -> None:
        """See `Archive.put_snapshot`."""
        await self._snapshots.put(key, snapshot)

    async def row(self, table: str, partition: str, key: str) -> Row | None:
        """See `Archive.row`."""
        return await self._rows.get(table, partition, key)

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        """See `Archive.rows`."""
        return await self._rows.page(table, partition, after, limit, descending=descending)

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """See `Archive.put_rows`."""
        await self._rows.put(rows)

    async def position(self, role: str, source: str, partition: int) -> Position | None:
        """See `Archive.position`."""
        found = await self._session.execute(self._session["position"], (role, source, partition))
        return Position(*found[0]) if found else None

    async def put_position(self, role: str, source: str, partition: int, position: Position) -> None:
        """See `Archive.put_position`: a line for each life of the log, the highest life's counts."""
        values = (role, source, partition, position.epoch, position.seq, position.seq)
        await self._session.execute(self._session["put_position"], values)

    async def scan(self, *, after_seq: int, place: str = "", limit: int) -> Scanned:
        """See `Archive.scan`; looks at every aggregate, so it is for recovery only."""
        return await self._scanner.page(after_seq, place, limit)

    async def scan_rows(self, table: str, *, place: str = "", limit: int) -> ScannedRows:
        """See `Archive.scan_rows`."""
        return await self._row_scanner.page(table, place, limit)

    async def scrub(self) -> None:
        """See `Archive.scrub`: what was written over is in the nodes' files until these are compacted, which is an operator's affair."""

    async def _counts(self, key: str, snapshot: Snapshot, tip: Tip) -> bool:
        """True: the entry that ends at the snapshot's version has its sequence (rule 7)."""
        if snapshot.version > tip.head.version or snapshot.seq > tip.head.seq:
            return False
        ends = _after(tip, snapshot.version - 1) or await self._history.page_down(key, snapshot.version + 1, 1)
        return bool(ends) and ends[0].seq == snapshot.seq


def _after(tip: Tip, after: int) -> list[StoredEntry] | None:
    """Entries from the one that holds version `after + 1` on, where the newest lines reach so far back; else None."""
    valid = valid_down((line.entry for line in tip.lines), tip.head)
    if not (tip.whole and tip.bucket == 0):
        valid = valid[:-1]  # the last one is not sure without the one before it
    enough = next((n for n, entry in enumerate(valid) if entry.first_version <= after + 1), None)
    if enough is None:
        return None
    return valid[enough::-1]


class _Newest:
    """The highest sequence stored: kept in the store now and then, because only a log that lost its end is seen by it."""

    def __init__(self, session: CqlSession) -> None:
        self._session = session
        self._seq = self._kept = 0
        self._timer: asyncio.TimerHandle | None = None
        self._keeping: asyncio.Task[None] | None = None

    def note(self, seq: int) -> None:
        """A sequence was stored."""
        if seq > self._seq:
            self._seq = seq
            if self._timer is None and self._keeping is None:
                self._timer = asyncio.get_running_loop().call_later(_KEEP_NEWEST_S, self._start)

    async def read(self) -> int:
        """The highest known, here or in the store."""
        found = await self._session.execute(self._session["newest"], ())
        return max(self._seq, found[0][0] if found else 0)

    async def close(self) -> None:
        """Keeps the last."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._keeping is not None:
            await self._keeping
        if self._seq > self._kept:
            await self._keep()

    def _start(self) -> None:
        self._timer = None
        self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="keep-newest")

    async def _keep(self) -> None:
        seq = self._seq
        try:
            await self._session.execute(self._session["put_newest"], (seq, seq))
            self._kept = seq
        except StoreUnavailable:
            self._kept = 0  # kept with the next entry
        finally:
            self._keeping = None
        if self._seq > seq and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_KEEP_NEWEST_S, self._start)
