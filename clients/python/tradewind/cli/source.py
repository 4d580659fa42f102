"""Files as numbered lines of bytes: plain or gzip, read in bounded pieces."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

MAX_LINE_BYTES = 1024 * 1024
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class BrokenFile(Exception):
    """The file as a whole cannot be used; says why, and from which line on where that is known."""


class SourceLine(NamedTuple):
    """A line of the file: its number from 1, and its bytes with the line end; None where it is longer than a mebibyte."""

    number: int
    raw: bytes | None


class Source:
    """A file that is read as often as needed. gzip is told by its first bytes, not by its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = hashlib.sha256()

    def lines(self) -> Iterator[SourceLine]:
        """Yield all lines; `digest` is that of the (unpacked) content read so far. A byte order mark at the start is left out.

        Raises BrokenFile for UTF-16 and for damaged gzip, OSError where the file cannot be read.
        """
        self.digest = hashlib.sha256()
        number = 0
        with self._opened() as file:
            try:
                while raw := file.readline(MAX_LINE_BYTES):
                    number += 1
                    yield SourceLine(number, self._whole(file, raw, first=number == 1))
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise BrokenFile(f"the gzip file is damaged or cut off after line {number}") from error

    def _whole(self, file: IO[bytes], raw: bytes, *, first: bool) -> bytes | None:
        self.digest.update(raw)
        if first and raw.startswith(_UTF16):
            raise BrokenFile("the file is UTF-16; it must be UTF-8")
        if first:
            raw = raw.removeprefix(_BOM)
        if len(raw) < MAX_LINE_BYTES or raw.endswith(b"\n"):
            return raw
        while rest := file.readline(MAX_LINE_BYTES):
            self.digest.update(rest)
            if rest.endswith(b"\n"):
                break
        return None

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with self.path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            if packed:
                with gzip.open(file) as unpacked:
                    yield cast(IO[bytes], unpacked)
            else:
                yield file
