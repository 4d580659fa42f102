"""The raw stores, read past all services: SQLite by plain SQL on the file."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.drills.checker.evidence import Entry, History


def sqlite_log(file: Path) -> Mapping[str, History]:
    """Every aggregate in a service's file: only what is at or below its head, as that alone is true."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20.0)
    try:
        connection.execute("BEGIN")
        heads = {key: (version, seq) for key, version, seq in connection.execute("SELECT key, version, seq FROM heads")}
        entries: dict[str, list[Entry]] = defaultdict(list)
        for key, seq, data in connection.execute("SELECT key, seq, data FROM entries ORDER BY key, first_version"):
            if key in heads and seq <= heads[key][1]:
                entries[key].append(Entry.decode(seq, data))
        return {key: History(version, seq, entries[key]) for key, (version, seq) in heads.items()}
    finally:
        connection.close()
