"""The archive in one SQLite file: the embedded default, and what tests and standalone run on.

WAL with `synchronous=FULL`: an answered write survives a power failure. One writing thread puts all waiting entries into one
transaction, so an fsync is shared; one reading thread has a connection of its own and never waits for the writer. Several processes
may share the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from services.ledger import sqlite_scan
from services.ledger.archive import Head, Loaded, Position, Row, Scanned, ScannedRows, Snapshot, StoredEntry, Write
from services.ledger.errors import StoreUnavailable
from services.ledger.lane import Lane

_SCHEMA = """
CREATE TABLE IF NOT EXISTS heads (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, seq INTEGER NOT NULL, newest_request_ms INTEGER NOT NULL,
    size INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    key TEXT NOT NULL, first_version INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (key, first_version)
);
CREATE TABLE IF NOT EXISTS requests (
    key TEXT NOT NULL, request_id BLOB NOT NULL, first_version INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (key, request_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    name TEXT NOT NULL, partition TEXT NOT NULL, key TEXT NOT NULL, value BLOB, seq INTEGER NOT NULL,
    PRIMARY KEY (name, partition, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (
    role TEXT NOT NULL, source TEXT NOT NULL, partition INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (role, source, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epochs (service TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identities (one INTEGER PRIMARY KEY CHECK (one = 1), identity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS newest (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL);
"""

# In every upsert the higher log sequence wins, so replays and late writes change nothing.
_PUT_ENTRY = """INSERT INTO entries VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET seq = excluded.seq, data = excluded.data WHERE excluded.seq >= seq"""
_PUT_REQUEST = """INSERT INTO requests VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET first_version = excluded.first_version, seq = excluded.seq WHERE excluded.seq >= seq"""
_PUT_ROW = """INSERT INTO rows VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET value = excluded.value, seq = excluded.seq WHERE excluded.seq >= seq"""
_PUT_HEAD = """INSERT INTO heads VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET version = excluded.version, seq = excluded.seq, size = excluded.size,
        newest_request_ms = max(newest_request_ms, excluded.newest_request_ms) WHERE excluded.seq >= seq"""
_PUT_EPOCH = "INSERT INTO epochs VALUES (?, ?) ON CONFLICT DO UPDATE SET epoch = max(epoch, excluded.epoch)"
_PUT_NEWEST = "INSERT INTO newest VALUES (1, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)"
_PUT_SNAPSHOT = """INSERT INTO snapshots VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET version = excluded.version, seq = excluded.seq, data = excluded.data WHERE excluded.seq >= seq"""
_PUT_POSITION = """INSERT INTO positions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET epoch = excluded.epoch, seq = excluded.seq WHERE (excluded.epoch, excluded.seq) >= (epoch, seq)"""

_ROWS = "SELECT key, value, seq FROM rows WHERE name = ? AND partition = ? AND value IS NOT NULL "
_ROWS_UP = "AND key > ? ORDER BY key LIMIT ?", "ORDER BY key LIMIT ?"
_ROWS_DOWN = "AND key < ? ORDER BY key DESC LIMIT ?", "ORDER BY key DESC LIMIT ?"

_LOAD_PAGE = 4096
_PAGE_BYTES = 1 << 20

_Job = Callable[[sqlite3.Connection], Any]


class SqliteArchive:
    """An `archive.Archive` in one file. Make it with `open` inside a running event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer_connection = _connect(path)
        self._writer_connection.executescript(_SCHEMA)
        _grow(self._writer_connection)
        self._reader_connection = _connect(path)
        self._file = _file_at(path)
        self._writer: Lane[Write | _Job] = Lane("archive-writer", self._write_all)
        self._reader: Lane[_Job] = Lane("archive-reader", self._read_all)

    @classmethod
    def open(cls, path: Path) -> SqliteArchive:
        """Opens the file, making it, readable by its owner only, and its folder where they are missing.

        Raises:
            StoreUnavailable: the file cannot be opened or is no archive.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Its owner's alone, as it holds personal data; the files that SQLite keeps beside it take after it.
            path.touch(mode=0o600)
            return cls(path)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"cannot open the archive: {error}") from error

    async def close(self) -> None:
        """Finishes what is queued and closes the file."""
        await self._writer.close()
        await self._reader.close()
        self._reader_connection.close()
        self._writer_connection.close()

    def trust(self, stored: Callable[[int], bool]) -> None:
        """See `Archive.trust`: a file is one copy, and what is read from it is written."""

    async def identity(self) -> str | None:
        """See `Archive.identity`."""
        found = await self._reader.submit(lambda c: c.execute("SELECT identity FROM identities").fetchone())
        return found[0] if found else None

    async def put_identity(self, identity: str) -> None:
        """See `Archive.put_identity`."""
        await self._writer.submit(
            lambda c: c.execute("INSERT OR REPLACE INTO identities VALUES (1, ?)", (identity,)) and None
        )

    async def epoch(self, service: str) -> int | None:
        """See `Archive.epoch`; None also where another file, or none, took the place of this one: it is nobody's store any more."""

        def read(c: sqlite3.Connection) -> int | None:
            found = c.execute("SELECT epoch FROM epochs WHERE service = ?", (service,)).fetchone()
            return found[0] if found and _file_at(self._path) == self._file else None

        epoch: int | None = await self._reader.submit(read)
        return epoch

    async def register_epoch(self, service: str, epoch: int) -> int:
        """See `Archive.register_epoch`; atomic also between processes."""

        def register(c: sqlite3.Connection) -> int:
            c.execute(_PUT_EPOCH, (service, epoch))
            return int(c.execute("SELECT epoch FROM epochs WHERE service = ?", (service,)).fetchone()[0])

        return int(await self._writer.submit(register))

    async def newest_seq(self) -> int:
        """See `Archive.newest_seq`."""
        found = await self._reader.submit(lambda c: c.execute("SELECT seq FROM newest").fetchone())
        return found[0] if found else 0

    async def store(self, write: Write) -> None:
        """See `Archive.store`: one transaction for all that waits."""
        await self._writer.submit(write)

    async def load(self, key: str) -> Loaded:
        """See `Archive.load`."""

        def read(c: sqlite3.Connection) -> Loaded:
            head = _head(c, key)
            if head is None:
                return Loaded(None, None, ())
            snapshot = _snapshot(c, key, head)
            found = list(map(_entry, _entries_after(c, key, snapshot.version if snapshot else 0, head, _LOAD_PAGE)))
            return Loaded(head, snapshot, found, complete=len(found) < _LOAD_PAGE)

        loaded: Loaded = await self._reader.submit(read)
        return loaded

    async def head(self, key: str) -> Head | None:
        """See `Archive.head`."""
        head: Head | None = await self._reader.submit(lambda c: _head(c, key))
        return head

    async def entries(
        self, key: str, *, after: int = 0, before: int | None = None, limit: int
    ) -> Sequence[StoredEntry]:
        """See `Archive.entries`."""

        def read(c: sqlite3.Connection) -> Sequence[StoredEntry]:
            head = _head(c, key)
            if head is None:
                return ()
            if before is None:
                return _page(_entries_after(c, key, after, head, limit))
            found = c.execute(
                "SELECT first_version, seq, data FROM entries WHERE key = ? AND first_version < ? AND seq <= ?"
                " ORDER BY first_version DESC LIMIT ?",
                (key, min(before, head.version + 1), head.seq, limit),
            )
            return _page(found)

        answer: Sequence[StoredEntry] = await self._reader.submit(read)
        return answer

    async def find_request(self, key: str, request_id: bytes) -> StoredEntry | None:
        """See `Archive.find_request`."""

        def read(c: sqlite3.Connection) -> StoredEntry | None:
            found = c.execute(
                "SELECT e.first_version, e.seq, e.data FROM requests r"
                " JOIN entries e ON e.key = r.key AND e.first_version = r.first_version AND e.seq = r.seq"
                " JOIN heads h ON h.key = r.key AND h.seq >= e.seq WHERE r.key = ? AND r.request_id = ?",
                (key, request_id),
            ).fetchone()
            return StoredEntry(*found) if found else None

        entry: StoredEntry | None = await self._reader.submit(read)
        return entry

    async def put_snapshot(self, key: str, snapshot: Snapshot) -> None:
        """See `Archive.put_snapshot`."""
        values = (key, snapshot.version, snapshot.seq, snapshot.data)
        await self._writer.submit(lambda c: c.execute(_PUT_SNAPSHOT, values) and None)

    async def row(self, table: str, partition: str, key: str) -> Row | None:
        """See `Archive.row`."""
        found = await self._reader.submit(
            lambda c: c.execute(
                "SELECT value, seq FROM rows WHERE name = ? AND partition = ? AND key = ? AND value IS NOT NULL",
                (table, partition, key),
            ).fetchone()
        )
        return Row(table, partition, key, *found) if found else None

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        """See `Archive.rows`."""
        beyond, whole = _ROWS_DOWN if descending else _ROWS_UP
        query = _ROWS + (whole if after is None else beyond)
        values = (table, partition, limit) if after is None else (table, partition, after, limit)
        found = await self._reader.submit(lambda c: c.execute(query, values).fetchall())
        return [Row(table, partition, *line) for line in found]

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """See `Archive.put_rows`."""
        values = [(r.table, r.partition, r.key, r.value, r.seq) for r in rows]
        await self._writer.submit(lambda c: c.executemany(_PUT_ROW, values) and None)

    async def position(self, role: str, source: str, partition: int) -> Position | None:
        """See `Archive.position`."""
        found = await self._reader.submit(
            lambda c: c.execute(
                "SELECT epoch, seq FROM positions WHERE role = ? AND source = ? AND partition = ?",
                (role, source, partition),
            ).fetchone()
        )
        return Position(*found) if found else None

    async def put_position(self, role: str, source: str, partition: int, position: Position) -> None:
        """See `Archive.put_position`."""
        values = (role, source, partition, position.epoch, position.seq)
        await self._writer.submit(lambda c: c.execute(_PUT_POSITION, values) and None)

    async def scan(self, *, after_seq: int, place: str = "", limit: int) -> Scanned:
        """See `Archive.scan`; looks at the heads of every aggregate, so it is for recovery only."""
        scanned: Scanned = await self._reader.submit(lambda c: sqlite_scan.scan(c, after_seq, place, limit))
        return scanned

    async def scan_rows(self, table: str, *, place: str = "", limit: int) -> ScannedRows:
        """See `Archive.scan_rows`."""
        scanned: ScannedRows = await self._reader.submit(lambda c: sqlite_scan.scan_rows(c, table, place, limit))
        return scanned

    async def scrub(self) -> None:
        """See `Archive.scrub`."""
        await self._reader.submit(sqlite_scan.scrub)

    def _write_all(self, jobs: Sequence[Write | _Job]) -> Sequence[Any]:
        try:
            return self._write_together(jobs)
        except sqlite3.OperationalError as error:  # the file: it is full, locked, read-only or gone
            return [StoreUnavailable(f"the archive did not take a write: {error}")] * len(jobs)
        except Exception as error:  # noqa: BLE001 - one job's values: it must not fail the others
            if len(jobs) == 1:
                return [StoreUnavailable(f"the archive cannot hold a write: {type(error).__name__}")]
            return [self._write_all([job])[0] for job in jobs]

    def _write_together(self, jobs: Sequence[Write | _Job]) -> Sequence[Any]:
        c = self._writer_connection
        try:
            c.execute("BEGIN IMMEDIATE")
            _put_writes(c, [job for job in jobs if isinstance(job, Write)])
            results = [None if isinstance(job, Write) else job(c) for job in jobs]
            c.execute("COMMIT")
        finally:
            if c.in_transaction:
                c.execute("ROLLBACK")
        return results

    def _read_all(self, jobs: Sequence[_Job]) -> Sequence[Any]:
        results: list[Any] = []
        for job in jobs:
            try:
                results.append(job(self._reader_connection))
            except StoreUnavailable as error:
                results.append(error)
            except sqlite3.Error as error:
                results.append(StoreUnavailable(f"the archive did not answer: {error}"))
        return results


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to; a deleted one can still be written by those who have it open."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=64)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    connection.execute("PRAGMA cache_size=-16000")
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted or overwritten becomes zeros; see `scrub`
    return connection


def _grow(connection: sqlite3.Connection) -> None:
    """Adds what files of earlier versions lack; of two processes one is first, and the other finds it done."""
    connection.execute("BEGIN IMMEDIATE")
    columns = [line[1] for line in connection.execute("PRAGMA table_info(heads)")]
    if "size" not in columns:
        connection.execute("ALTER TABLE heads ADD COLUMN size INTEGER NOT NULL DEFAULT 0")
    connection.execute("COMMIT")


def _put_writes(c: sqlite3.Connection, writes: Sequence[Write]) -> None:
    if not writes:
        return
    c.executemany(_PUT_ENTRY, [(w.key, w.entry.first_version, w.entry.seq, w.entry.data) for w in writes])
    c.executemany(_PUT_REQUEST, [(w.key, r, w.entry.first_version, w.entry.seq) for w in writes for r in w.request_ids])
    rows = [(r.table, r.partition, r.key, r.value, w.entry.seq) for w in writes for r in w.rows]
    if rows:
        c.executemany(_PUT_ROW, rows)
    heads = [(w.key, w.head.version, w.head.seq, w.head.newest_request_ms, w.head.size) for w in writes]
    c.executemany(_PUT_HEAD, heads)
    c.execute(_PUT_NEWEST, (max(w.entry.seq for w in writes),))


def _head(c: sqlite3.Connection, key: str) -> Head | None:
    found = c.execute("SELECT version, seq, newest_request_ms, size FROM heads WHERE key = ?", (key,)).fetchone()
    return Head(*found) if found else None


def _snapshot(c: sqlite3.Connection, key: str, head: Head) -> Snapshot | None:
    found = c.execute("SELECT version, seq, data FROM snapshots WHERE key = ?", (key,)).fetchone()
    if found is None or found[0] > head.version or found[1] > head.seq:
        return None
    ends = c.execute(
        "SELECT seq FROM entries WHERE key = ? AND first_version <= ? ORDER BY first_version DESC LIMIT 1",
        (key, found[0]),
    ).fetchone()
    return Snapshot(*found) if ends and ends[0] == found[1] else None


def _entries_after(c: sqlite3.Connection, key: str, after: int, head: Head, limit: int) -> Iterable[Any]:
    if after >= head.version:
        return ()
    return c.execute(
        "SELECT first_version, seq, data FROM entries WHERE key = ? AND seq <= ? AND first_version >= coalesce("
        " (SELECT max(first_version) FROM entries WHERE key = ? AND first_version <= ? AND seq <= ?), 0)"
        " ORDER BY first_version LIMIT ?",
        (key, head.seq, key, after + 1, head.seq, limit),
    )


def _entry(line: tuple[int, int, bytes]) -> StoredEntry:
    return StoredEntry(*line)


def _page(found: Iterable[Any]) -> list[StoredEntry]:
    """The first entries up to some bytes: one entry may hold a thousand events, and a page of them is one answer."""
    page: list[StoredEntry] = []
    size = 0
    for line in found:
        page.append(_entry(line))
        size += len(page[-1].data)
        if size >= _PAGE_BYTES:
            break
    return page
