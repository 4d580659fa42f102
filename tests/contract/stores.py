"""The stores that every contract test runs on, and what is put into them. Adding an adapter is adding a line to ADAPTERS."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from services.ledger.archive import Archive, Head, Row, StoredEntry, Write
from services.ledger.sqlite import SqliteArchive

KEY = "acme/tally/till"

Opener = Callable[[Path], Awaitable[Archive]]
"""Opens a store: the same folder, the same store; a new folder, an empty one."""

ADAPTERS: Mapping[str, str] = {"sqlite": "sqlite_opener", "cql": "cql_opener", "simulated": "simulated_opener"}
"""Fixtures that give an opener."""


async def open_sqlite(folder: Path) -> Archive:
    """The embedded default."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    return SqliteArchive.open(folder / "archive.db")


def write(
    first: int, events: int, seq: int, *, key: str = KEY, data: bytes | None = None, ids: Sequence[bytes] = (),
    rows: Sequence[Row] = (), newest_request_ms: int = 0, size: int = 0,
) -> Write:  # fmt: skip
    """An entry of some events, as the ledger stores it."""
    content = data if data is not None else f"{first}@{seq}".encode()
    head = Head(first + events - 1, seq, newest_request_ms, size)
    return Write(key, StoredEntry(first, seq, content), head, list(ids), list(rows))


async def store_run(archive: Archive, sizes: Sequence[int], *, key: str = KEY, seq: int = 100) -> list[StoredEntry]:
    """Entries of these sizes, one after the other; answers them."""
    stored = []
    first = 1
    for size in sizes:
        one = write(first, size, seq, key=key)
        await archive.store(one)
        stored.append(one.entry)
        first += size
        seq += 3
    return stored
