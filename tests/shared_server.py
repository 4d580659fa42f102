"""One CQL server for all workers of a test run, kept by a process of its own for as long as one of them is there.

Who uses the server holds a shared lock on ``users.lock``, and who dies lets go of it, however that was. The keeper
(``python -m tests.shared_server FOLDER``) ends the server, and itself, once it can take that lock alone; and the server ends
when the keeper does. POSIX only, as the server is.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from services.standalone.cassandra.node import DATACENTER
from services.standalone.lock import try_lock
from tests.servers import CQL_START_SECONDS, CassandraCluster, ServerFailed

_LOOK_SECONDS = 0.2
_MORE_SECONDS = 30.0
_USERS, _STARTING, _KEEPER, _ADDRESS, _SAID = "users.lock", "starting.lock", "keeper.lock", "server.json", "keeper.log"


@dataclass(frozen=True)
class CqlServer:
    """A CQL server that runs, and that is not yours alone."""

    contact_points: tuple[str, ...]
    """Where clients connect, ``host:port`` each."""
    local_dc: str = DATACENTER
    replication: int = 1
    """Copies that a keyspace should have here."""


@contextmanager
def shared_cql_server(folder: Path) -> Iterator[CqlServer]:
    """Gives the server of all who name the same folder, started where none runs yet (5 s).

    Raises:
        ServerFailed: it was not ready in time, or has ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / _USERS, fcntl.LOCK_SH):  # waits while a keeper ends its server
        with _locked(folder / _STARTING, fcntl.LOCK_EX):
            if not _is_kept(folder):
                _keep(folder)
        told = json.loads((folder / _ADDRESS).read_text(encoding="utf-8"))
        yield CqlServer(**{**told, "contact_points": tuple(told["contact_points"])})


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _is_kept(folder: Path) -> bool:
    lock = try_lock(folder / _KEEPER)
    if lock is not None:
        lock.release()
    return lock is None and (folder / _ADDRESS).exists()


def _keep(folder: Path) -> None:
    """Start a keeper, and return when its server is ready."""
    (folder / _ADDRESS).unlink(missing_ok=True)
    with (folder / _SAID).open("ab") as said:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.shared_server", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=Path(__file__).parents[1],
            start_new_session=True,  # it may outlive who asked first, and hears no Ctrl-C
        )
    until = time.monotonic() + CQL_START_SECONDS + _MORE_SECONDS
    while not (folder / _ADDRESS).exists():
        if keeper.poll() is not None or time.monotonic() > until:
            raise ServerFailed(
                f"no CQL server: {(folder / _SAID).read_text(encoding='utf-8', errors='replace')[-2000:]}"
            )
        time.sleep(0.02)


def main(folder: Path) -> int:
    """Keep the server while anybody uses it; returns the exit code."""
    if try_lock(folder / _KEEPER) is None:
        return 1
    cluster = CassandraCluster(folder / "server", 1, fleeting=True)
    cluster.start()
    fresh = folder / f"{_ADDRESS}.new"
    fresh.write_text(json.dumps(asdict(CqlServer(cluster.contact_points))), encoding="utf-8")
    fresh.replace(folder / _ADDRESS)
    users = os.open(folder / _USERS, os.O_RDWR | os.O_CREAT, 0o600)
    while cluster.servers[0].running:
        time.sleep(_LOOK_SECONDS)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        (folder / _ADDRESS).unlink()
        cluster.stop()
        cluster.wipe()
        return 0
    sys.stderr.write(f"the CQL server ended: {cluster.servers[0].log_text()[-2000:]}\n")
    (folder / _ADDRESS).unlink()
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
