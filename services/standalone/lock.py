"""A file that one process holds at a time. The system lets go of it when the process dies, however it dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Windows refuses to read a locked byte, so what is locked lies far behind what is written.
_LOCKED_BYTE = 1 << 30


class HeldLock:
    """A lock that this process, and whoever inherits its descriptor, holds."""

    def __init__(self, descriptor: int) -> None:
        """Take over an open, locked descriptor."""
        self.descriptor = descriptor

    def write_holder(self, pid: int) -> None:
        """Say in the file which process holds it, for people and for ``holder_of``."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        os.write(self.descriptor, f"{pid}\n".encode())

    def release(self) -> None:
        """Let go."""
        os.close(self.descriptor)


def try_lock(path: Path) -> HeldLock | None:
    """Take the lock of ``path``, which is made if absent; None when another process holds it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        return None
    held = HeldLock(descriptor)
    held.write_holder(os.getpid())
    return held


def holder_of(path: Path) -> int | None:
    """Read who says that it holds the lock; None where nobody said so. Raises OSError."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdecimal() else None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
