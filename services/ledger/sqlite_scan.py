"""Walking over all of the SQLite archive, and cleaning its file: for recovery, backups and erasure."""

from __future__ import annotations

import json
import sqlite3

from services.ledger.archive import PAGE_BYTES, Row, Scanned, ScannedRows, StoredEntry
from services.ledger.errors import StoreUnavailable

_SCAN = """SELECT h.key, e.first_version, e.seq, e.data FROM heads h JOIN entries e ON e.key = h.key
    WHERE h.key >= ? AND h.seq > ? AND e.seq > ? AND e.seq <= h.seq
    AND e.first_version > CASE h.key WHEN ? THEN ? ELSE 0 END ORDER BY h.key, e.first_version LIMIT ?"""
_SCAN_ROWS = """SELECT partition, key, value, seq FROM rows
    WHERE name = ? AND (partition, key) > (?, ?) AND value IS NOT NULL ORDER BY partition, key LIMIT ?"""


def scan(c: sqlite3.Connection, after_seq: int, place: str, limit: int) -> Scanned:
    """See `Archive.scan`."""
    version, _, after_key = place.partition(":")
    lines = c.execute(_SCAN, (after_key, after_seq, after_seq, after_key, int(version or 0), limit))
    found: list[tuple[str, StoredEntry]] = []
    size = 0
    for key, *line in lines:
        entry = StoredEntry(*line)
        size += len(entry.data)
        if found and size > PAGE_BYTES:
            return Scanned(found, f"{found[-1][1].first_version}:{found[-1][0]}")
        found.append((key, entry))
    return Scanned(found, f"{found[-1][1].first_version}:{found[-1][0]}" if len(found) == limit else "")


def scan_rows(c: sqlite3.Connection, table: str, place: str, limit: int) -> ScannedRows:
    """See `Archive.scan_rows`."""
    partition, key = json.loads(place) if place else ("", "")
    found: list[Row] = []
    size = 0
    for line in c.execute(_SCAN_ROWS, (table, partition, key, limit)):
        row = Row(table, *line)
        size += len(row.value or b"")
        if found and size > PAGE_BYTES:
            return ScannedRows(found, json.dumps([found[-1].partition, found[-1].key]))
        found.append(row)
    return ScannedRows(found, json.dumps([found[-1].partition, found[-1].key]) if len(found) == limit else "")


def scrub(c: sqlite3.Connection) -> None:
    """See `Archive.scrub`: with `secure_delete` what was overwritten is zeros in the file; here its log is taken in, and emptied.

    Raises:
        StoreUnavailable: others read or write all the time.
    """
    busy = c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise StoreUnavailable("the archive is in use; what was deleted is still in its log")
