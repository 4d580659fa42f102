"""The folder that holds all state of a standalone, and the right to use it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from services.standalone.lock import HeldLock, holder_of, try_lock

_TRACE_BYTES = 256 * 1024 * 1024
_STALE_SECONDS = 10.0


class HomeInUse(Exception):
    """Another standalone uses the folder."""


class HomeUnusable(Exception):
    """The folder cannot be made or written."""


@dataclass(frozen=True)
class Home:
    """Where everything lies under the folder that TRADEWIND_HOME names."""

    root: Path

    @property
    def keys(self) -> Path:
        """Private keys, readable by their owner only."""
        return self.root / "keys"

    @property
    def log(self) -> Path:
        """What nats-server holds: the log, consumers, timers."""
        return self.root / "nats"

    @property
    def archive(self) -> Path:
        """The SQLite archives, one a service: the memory."""
        return self.root / "archive"

    @property
    def cassandra(self) -> Path:
        """The memory instead, where the store is CQL."""
        return self.root / "cassandra"

    @property
    def inbox(self) -> Path:
        """The Maildir of the local SMTP inbox."""
        return self.root / "inbox"

    @property
    def logs(self) -> Path:
        """What the processes say."""
        return self.root / "logs"

    @property
    def traces(self) -> Path:
        """Spans, as JSON Lines."""
        return self.root / "traces"

    @property
    def run(self) -> Path:
        """Lock files of the child processes, and the configuration of nats-server."""
        return self.root / "run"

    @property
    def credentials(self) -> Path:
        """Endpoints and tokens, for the command line."""
        return self.root / "credentials.json"

    @property
    def journey(self) -> Path:
        """What must be remembered of a journey that is not complete."""
        return self.root / "journey.json"

    def open(self) -> HeldLock:
        """Make the folders and take the folder for this process.

        Raises HomeInUse when another standalone has it, HomeUnusable when it cannot be made or written.
        """
        try:
            for folder in self._folders():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = try_lock(self.root / "lock")
            holder = None if lock else holder_of(self.root / "lock")
        except OSError as error:
            raise HomeUnusable(f"the folder {self.root} cannot be used: {error.strerror}") from error
        if lock is None:
            who = f"process {holder}" if holder else "another process"
            raise HomeInUse(
                f"the folder {self.root} is in use by {who}; end that one, or set TRADEWIND_HOME to another folder"
            )
        return lock

    def _folders(self) -> list[Path]:
        maildir = [self.inbox / part for part in ("tmp", "new", "cur")]
        return [self.root, self.keys, self.log, self.archive, self.inbox, *maildir, self.logs, self.traces, self.run]

    def end_stale_children(self) -> None:
        """Kill what an earlier run of this folder left behind, and wait until it is gone. Raises HomeUnusable.

        A child that holds its lock is the process that wrote its id there: nobody else can, so nobody else is hit.
        """
        until = time.monotonic() + _STALE_SECONDS
        for path in sorted(self.run.glob("*.lock")):
            while (lock := try_lock(path)) is None:
                holder = holder_of(path)
                if time.monotonic() > until:
                    raise HomeUnusable(f"process {holder} ({path.stem}) of an earlier run does not end")
                if holder is not None:
                    _kill(holder)
                time.sleep(0.02)
            lock.release()

    def prune_traces(self) -> None:
        """Delete the oldest spans, until the rest takes at most 256 MB."""
        files = sorted(self.traces.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in files:
            total += path.stat().st_size
            if total > _TRACE_BYTES:
                path.unlink()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    except ProcessLookupError:
        return
