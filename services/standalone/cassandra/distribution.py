"""Where Cassandra and what runs it come from: Java 17, and the jars that Maven fetches once into a folder of the user."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.standalone.lock import HeldLock, try_lock

VERSION = "5.0.5"
JAVA = 17
"""The newest Java that this Cassandra runs on."""

_HERE = Path(__file__).parent
_LOCK = _HERE / "jars.lock"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_FETCH_SECONDS = 600.0
_POLL_SECONDS = 0.1
_NEEDS = f"needs Java {JAVA} and Maven"


class NoCassandra(Exception):
    """Cassandra cannot be run here; the message is one line that says why, and begins with what is wrong."""


@dataclass(frozen=True)
class Distribution:
    """A Java and the checked jars."""

    java: Path
    jars: Path

    @classmethod
    def fetch(cls, tell: Callable[[str], None] = lambda line: None) -> Distribution:
        """Give what runs Cassandra; the first time on a machine Maven brings it (66 MB), and ``tell`` is told so before.

        Blocks for 0.2 s, the first time for as long as a download takes. Several processes may ask at once: one fetches.

        Raises:
            NoCassandra: no Java 17, no Maven where it is needed, nothing to fetch from, or not the files that the lock names.
        """
        java = find_java()
        folder = _cache()
        try:
            if not _is_complete(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                guard = _held(folder.with_name(f"{folder.name}.lock"))
                try:
                    if not _is_complete(folder):
                        tell(f"Fetching Apache Cassandra {VERSION} by Maven, once for this user (66 MB)")
                        _replace(folder)
                finally:
                    guard.release()
        except OSError as error:
            raise NoCassandra(f"the folder {folder} cannot be used: {error.strerror}") from error
        return cls(java, folder)


def find_java() -> Path:
    """Find a Java 17: that of JAVA_HOME, or else that of the path. Raises NoCassandra."""
    if sys.platform == "win32":
        raise NoCassandra("Apache Cassandra does not run on Windows")
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        raise NoCassandra(f"a CQL server {_NEEDS}; there is no java {'in JAVA_HOME' if home else 'here'}")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) != JAVA:
        raise NoCassandra(f"a CQL server {_NEEDS}; {found} is {f'Java {version[1]}' if version else 'no Java'}")
    return Path(found)


def write_lock() -> None:
    """Fetch what pom.xml asks for, and write down what came: names and SHA-256. Raises NoCassandra, OSError."""
    with tempfile.TemporaryDirectory() as scratch:
        jars = Path(scratch) / "jars"
        _maven(jars)
        lines = [f"{_digest(jar)}  {jar.name}\n" for jar in sorted(jars.iterdir())]
    _LOCK.write_text("".join(lines), encoding="ascii")


def _cache() -> Path:
    """The folder of the jars: named after what the lock asks for, so that versions never share one."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tradewind" / f"cassandra-{VERSION}-{hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:8]}"


def _is_complete(folder: Path) -> bool:
    """Whether the folder holds exactly what the lock names, byte by byte (0.1 s)."""
    try:
        found = {jar.name: _digest(jar) for jar in folder.iterdir()}
    except FileNotFoundError:
        return False
    return found == _locked()


def _locked() -> dict[str, str]:
    lines = _LOCK.read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def _digest(jar: Path) -> str:
    with jar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _held(path: Path) -> HeldLock:
    """Take the lock, waiting for whoever fetches. Raises NoCassandra, OSError."""
    until = time.monotonic() + _FETCH_SECONDS
    while (lock := try_lock(path)) is None:
        if time.monotonic() > until:
            raise NoCassandra(f"another process holds {path} for {_FETCH_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)
    return lock


def _replace(folder: Path) -> None:
    """Fetch into a folder beside it, check, and put it in its place: whoever looks sees all or nothing. The lock must be held."""
    for abandoned in folder.parent.glob(f"{folder.name}-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        jars = fresh / "jars"
        _maven(jars)
        if not _is_complete(jars):
            raise NoCassandra(f"what Maven brought is not what {_LOCK.name} names: {_difference(jars)}")
        shutil.rmtree(folder, ignore_errors=True)
        jars.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _difference(jars: Path) -> str:
    found = {jar.name: _digest(jar) for jar in jars.iterdir()}
    return ", ".join(sorted({name for name, _ in found.items() ^ _locked().items()})[:3])


def _maven(jars: Path) -> None:
    """Let Maven put Cassandra and all it needs at run time into a folder. Raises NoCassandra."""
    maven = shutil.which("mvn")
    if maven is None:
        raise NoCassandra(f"a CQL server {_NEEDS}; there is no mvn here, and the jars were not fetched before")
    command = [maven, "--batch-mode", "--file", str(_HERE / "pom.xml"), _PLUGIN]
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    try:
        done = subprocess.run(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NoCassandra(f"Maven did not bring Apache Cassandra within {_FETCH_SECONDS:.0f} s") from error
    if done.returncode != 0:
        said = next(
            (line for line in done.stdout.splitlines() if line.startswith("[ERROR]")), "[ERROR] no reason given"
        )
        raise NoCassandra(f"Maven cannot bring Apache Cassandra: {said.removeprefix('[ERROR] ')[:300]}")
