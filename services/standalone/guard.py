"""Stands between the supervisor and a program, so that the program never outlives the supervisor.

``python -m services.standalone.guard MODE LOCK PARENT PROGRAM ARGUMENT…`` takes the lock file, notes who holds it, and runs the program:

- ``exec`` (Linux): asks the kernel to kill it when its parent dies, and becomes the program, which keeps the lock.
- ``watch`` (elsewhere): runs the program below itself, hands on SIGTERM, and kills it when standard input, a pipe the parent holds, ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from services.standalone.lock import HeldLock, try_lock

HELD_EXIT_CODE = 75
"""Ended because another process holds the lock (EX_TEMPFAIL of sysexits.h)."""
ORPHANED_EXIT_CODE = 76
"""Ended because the parent was gone before the program began."""

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the program; returns its exit code, unless this process becomes it."""
    mode, lock_file, parent, *command = arguments
    lock = try_lock(Path(lock_file))
    if lock is None:
        return HELD_EXIT_CODE
    os.set_inheritable(lock.descriptor, True)
    if mode == "exec":
        return _become(command, int(parent))
    return _watch(command, lock)


def _become(command: list[str], parent: int) -> int:
    _die_with_parent()
    if os.getppid() == parent:
        os.execv(command[0], command)  # noqa: S606 (no shell is wanted)
    # The parent died before the kernel was asked, and nobody will tell.
    return ORPHANED_EXIT_CODE


def _die_with_parent() -> None:
    """Ask for SIGKILL when the parent dies (prctl(2)); the wish survives execve(2)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _watch(command: list[str], lock: HeldLock) -> int:
    inherited = () if sys.platform == "win32" else (lock.descriptor,)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=inherited)
    lock.write_holder(child.pid)
    signal.signal(signal.SIGTERM, lambda _number, _frame: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the supervisor decides who ends when
    threading.Thread(target=_kill_at_end_of_input, args=(child,), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _kill_at_end_of_input(child: subprocess.Popen[bytes]) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
