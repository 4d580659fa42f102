"""Migrations as files: numbered, never changed once they were applied anywhere."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "infra" / "scylla"
"""Where they are in this tree."""

_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.cql")
_COMMENT: Final = re.compile(r"--[^\n]*")


class BadMigrations(Exception):
    """The files, or what the store says of them, do not fit together; the message is one line."""


@dataclass(frozen=True)
class Migration:
    """One file.

    Attributes:
        number: its place in the order.
        name: the file's.
        sha256: of its bytes, in hexadecimal.
        statements: in order, without comments; `{keyspace}` stands for the keyspace.
    """

    number: int
    name: str
    sha256: str
    statements: tuple[str, ...]


def read(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of a folder in order.

    Raises:
        BadMigrations: there are none, a name is none, or a number is missing or there twice.
    """
    found = [_read(path) for path in sorted(folder.glob("*.cql"))]
    if not found:
        raise BadMigrations(f"no migrations in {folder}")
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise BadMigrations("migrations must be numbered 0001, 0002, … without a gap")
    return found


def _read(path: Path) -> Migration:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise BadMigrations(f"{path.name}: a migration is named like 0001_what_it_does.cql")
    data = path.read_bytes()
    text = _COMMENT.sub("", data.decode())
    statements = tuple(statement.strip() for statement in text.split(";") if statement.strip())
    return Migration(int(match[1]), path.name, hashlib.sha256(data).hexdigest(), statements)
