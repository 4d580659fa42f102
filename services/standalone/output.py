"""What a child process says, kept in files of bounded size."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

_MAX_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_TAIL_BYTES = 4096


class Output:
    """Copies a pipe into a file on a thread of its own; at 8 MB the file becomes ``….1…`` and a new one begins.

    A full disk loses lines, never the child: the pipe is read on.
    """

    def __init__(self, path: Path) -> None:
        """Write to ``path``, after what earlier runs left there."""
        self._path = path
        self._older = path.with_name(f"{path.stem}.1{path.suffix}")
        self._thread: threading.Thread | None = None
        self._began_at = 0

    def begin(self) -> int:
        """Open a pipe and return its writing end, which the caller closes once a child has it."""
        self._began_at = self._path.stat().st_size if self._path.exists() else 0
        reading, writing = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(reading,), name=self._path.stem, daemon=True)
        self._thread.start()
        return writing

    def finish(self, seconds: float = 1.0) -> None:
        """Wait until everything the child said is in the file."""
        if self._thread is not None:
            self._thread.join(seconds)

    def last_line(self) -> str:
        """The last line of this run that tells people something: plain text, or an error's event and reason; empty where there is none."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                # A file that was begun anew meanwhile holds nothing but this run.
                began_at = self._began_at if self._began_at <= size else 0
                file.seek(max(began_at, size - _TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return ""
        return next(filter(None, (_telling(line.strip()) for line in reversed(lines))), "")

    def _copy(self, reading: int) -> None:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while data := pipe.read(_CHUNK_BYTES):
                try:
                    self._append(data)
                except OSError:
                    continue

    def _append(self, data: bytes) -> None:
        with self._path.open("ab") as file:
            if file.tell() + len(data) <= _MAX_BYTES:
                file.write(data)
                return
        self._path.replace(self._older)
        self._path.write_bytes(data)


def _telling(line: str) -> str:
    """What a line says to people; a log record says something where it is an error."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict):
        return line
    if record.get("level") not in ("error", "critical"):
        return ""
    return ": ".join(str(record[key]) for key in ("event", "reason") if key in record)
