"""The files of the embedded index in their folder: the newest whole one counts, so a new one takes an old one's place in one step.

A SQLite file in use has companions named after it, so it cannot be replaced under its own name. Each has a number instead. Who uses an
older one sees the newer, and changes over; the older one is deleted, and goes for good once nobody has it open.
"""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import Final

from services.chat.search.file import FORMAT, IndexFile

_NAME: Final = re.compile(rf"index-{FORMAT}-(\d{{8}})\.db\Z")
BUILDING: Final = f"building-{FORMAT}.db"
_COMPANIONS: Final = ("-wal", "-shm", "-journal")


def newest(folder: Path) -> Path | None:
    """Give the file that counts; None where there is none. Raises OSError."""
    names = [name for name in os.listdir(folder) if _NAME.match(name)]
    return folder / max(names) if names else None


def begin(folder: Path, name: str = BUILDING) -> IndexFile:
    """Open the file that is being built, a new one where there is none. Raises OSError, sqlite3.Error."""
    folder.mkdir(parents=True, exist_ok=True)
    return IndexFile(folder / name, new=True)


def finish(folder: Path, name: str = BUILDING) -> Path:
    """Put a file that was built, and is closed, in the place of the one that counts. Raises OSError, sqlite3.Error."""
    built = folder / name
    connection = sqlite3.connect(built, isolation_level=None)
    try:
        # All of it must be in the one file before it gets another name.
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the file is in use")
    finally:
        connection.close()
    for end in _COMPANIONS:
        (folder / f"{name}{end}").unlink(missing_ok=True)
    last = newest(folder)
    match = _NAME.match(last.name) if last is not None else None
    number = int(match[1]) + 1 if match is not None else 1
    path = folder / f"index-{FORMAT}-{number:08d}.db"
    os.replace(built, path)
    _forget_older(folder, path)
    return path


def drop(folder: Path, name: str = BUILDING) -> None:
    """Delete a file that was being built. Raises OSError."""
    for each in (name, *(f"{name}{end}" for end in _COMPANIONS)):
        (folder / each).unlink(missing_ok=True)


def _forget_older(folder: Path, path: Path) -> None:
    for name in os.listdir(folder):
        if _NAME.match(name) and name < path.name:
            drop(folder, name)
