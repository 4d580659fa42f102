"""What the store has of an aggregate, folded while others go on."""

from pathlib import Path

from services.ledger import entries
from services.ledger.archive import Head, Loaded, StoredEntry, Write
from services.ledger.replay import Replay
from services.ledger.sqlite import SqliteArchive
from tests.tally import TALLY, encode, tally


def write(version: int) -> Write:
    """An entry that counts one."""
    command = entries.command(version.to_bytes(16, "big"), b"", 1, None)
    data = entries.encode(version - 1, 99 + version if version > 1 else 0, [encode(1, version)], [command], "test")
    return Write(tally("till").key, StoredEntry(version, 100 + version, data), Head(version, 100 + version))


async def test_a_history_that_grows_while_it_is_read_in_pages_is_shown_as_it_was(tmp_path: Path) -> None:
    archive = SqliteArchive.open(tmp_path / "a.db")
    for version in range(1, 6):
        await archive.store(write(version))
    load = archive.load

    async def load_some(key: str) -> Loaded:
        loaded = await load(key)
        await archive.store(write(6))  # by another process, before the next page is read
        return Loaded(loaded.head, None, loaded.entries[:2], complete=False)

    archive.load = load_some  # type: ignore[method-assign]
    standing = await Replay(TALLY, archive).standing(tally("till"))
    assert (standing.version, standing.last_seq, standing.state.total) == (5, 105, 5)
    await archive.close()
