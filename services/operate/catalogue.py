"""Which attachments belong to a backup: a list beside its file, that is whole or is none; their bytes lie in a folder beside both.

The folder holds each object once, under the SHA-256 of what is in it, for all backups that lie there. The list is gzip of lines of JSON:
a head, ``[name, size, SHA-256, note]`` for each object, and an end with their count and the digest of all lines before it.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from services.chat.attachments.vault import Described
from services.ledger.backup import BackupUnusable

FORMAT: Final = 1
_PAGE: Final = 500
_LEVEL: Final = 4


def list_of(file: Path) -> Path:
    """Name the list that belongs to a backup's file."""
    return file.with_name(f"{file.name}.attachments")


def bytes_of(file: Path, sha256: bytes) -> Path:
    """Name where an object's bytes are, for any backup in the folder of ``file``."""
    name = sha256.hex()
    return file.parent / "attachments" / name[:2] / name


class Writer:
    """Writes a list beside its place, and moves it there when it is whole. Blocks; readable by its owner only. ``close`` it."""

    def __init__(self, file: Path, backup: bytes) -> None:
        """Begin the list of a backup's file, whose digest is ``backup``. Raises OSError."""
        self._path = list_of(file)
        self._partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        self._raw = os.fdopen(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._stream = gzip.GzipFile("", "wb", _LEVEL, self._raw, mtime=0)
        self._digest = hashlib.blake2b(digest_size=32)
        self._count = 0
        self._put({"format": FORMAT, "backup": backup.hex()})

    def add(self, it: Described) -> None:
        """Write an object down."""
        self._put([it.name, it.size, it.sha256.hex(), base64.b64encode(it.note).decode()])
        self._count += 1

    def finish(self) -> None:
        """Make it whole: on the disk first, then under its name."""
        self._put({"objects": self._count, "digest": self._digest.hexdigest()})
        self._stream.close()
        sync(self._raw.fileno())
        self._raw.close()
        self._partial.replace(self._path)
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Leave nothing behind that is not whole."""
        with contextlib.suppress(OSError):
            self._raw.close()
        self._partial.unlink(missing_ok=True)

    def _put(self, what: object) -> None:
        line = json.dumps(what, separators=(",", ":")).encode() + b"\n"
        self._stream.write(line)
        self._digest.update(line)


def check(file: Path, backup: bytes) -> int:
    """Read a list once and hold it to what it says of itself; gives how many objects it names.

    Raises:
        BackupUnusable: it was cut or changed, or is of another backup than the one with this digest.
    """
    lines = _lines(list_of(file))
    head = next(lines, {})
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise BackupUnusable(f"{list_of(file)} has a format that this version cannot read")
    if head.get("backup") != backup.hex():
        raise BackupUnusable(f"{list_of(file)} belongs to another backup")
    return sum(isinstance(line, list) for line in lines)


def pages(file: Path) -> Iterator[list[Described]]:
    """Iterate over a list that was checked, some objects at a time. Blocks."""
    objects = (line for line in _lines(list_of(file)) if isinstance(line, list))
    while page := list(islice(objects, _PAGE)):
        yield [
            Described(name, size, bytes.fromhex(sha256), base64.b64decode(note)) for name, size, sha256, note in page
        ]


def _lines(path: Path) -> Iterator[object]:
    digest, count, whole = hashlib.blake2b(digest_size=32), 0, False
    try:
        with gzip.open(path, "rb") as stream:
            for line in stream:
                what = json.loads(line)
                if whole:
                    raise EOFError
                if isinstance(what, dict) and "digest" in what:
                    if (what["digest"], what["objects"]) != (digest.hexdigest(), count):
                        raise EOFError
                    whole = True
                digest.update(line)
                count += isinstance(what, list)
                yield what
        if not whole:
            raise EOFError
    except (gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise BackupUnusable(f"{path} is no list of attachments, or was cut or changed") from error
    except OSError as error:
        raise BackupUnusable(f"{path} cannot be read: {error.strerror}") from error


def sync(descriptor: int) -> None:
    """See that a file is on the disk."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """See that a folder's names are on the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
