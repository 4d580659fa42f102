"""The stores that every contract test runs on, and what is put into them. Adding an adapter is adding a line to ADAPTERS."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from services.ledger.archive import Archive, Head, Row, StoredEntry, Write
from services.ledger.sqlite import SqliteArchive

KEY = "acme/tally/till"


async def open_sqlite(folder: Path) -> Archive:
    """The embedded default."""
    return SqliteArchive.open(folder / "archive.db")


ADAPTERS: dict[str, Callable[[Path], Awaitable[Archive]]] = {"sqlite": open_sqlite}


def write(
    first: int, events: int, seq: int, *, key: str = KEY, data: bytes | None = None, ids: Sequence[bytes] = (),
    rows: Sequence[Row] = (), newest_request_ms: int = 0,
) -> Write:  # fmt: skip
    """An entry of some events, as the ledger stores it."""
    content = data if data is not None else f"{first}@{seq}".encode()
    head = Head(first + events - 1, seq, newest_request_ms)
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
