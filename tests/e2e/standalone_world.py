"""A whole standalone as somebody runs it: a process of its own, in a folder and on ports of its own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any, Literal

import psutil
from tradewind.cli.__main__ import app, flags_first
from typer.testing import CliRunner

from services.standalone.cluster.ports import COUNT as CLUSTER_COUNT
from services.standalone.home import Home
from services.standalone.lock import holder_of, try_lock
from services.standalone.ports import COUNT
from tests.ports import free_ports

SECONDS = 120.0
"""What a busy machine may take for anything."""
SERVES = "the way through all of it"
"""The last line of what is shown before it serves until Ctrl-C."""
CHILDREN = ("nats", "payments", "inbox", "push", "chat", "order", "mail")


class Standalone:
    """One `python -m services.standalone`, started as often as wanted on the same folder and ports.

    Attributes:
        journeys: how many it has played to their end.
    """

    def __init__(self, root: Path, cluster: Literal["", "sqlite", "cql"] = "") -> None:
        """With ``cluster`` it is many, and remembers so."""
        self.root = root
        self.home = Home(root / {"": "", "sqlite": "cluster-sqlite", "cql": "cluster"}[cluster])
        self.port = free_ports(CLUSTER_COUNT if cluster else COUNT)
        self._kind = ["--cluster", "--store", cluster] if cluster else []
        self.journeys = 0
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._reader: threading.Thread | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        """The supervisor."""
        assert self._process is not None, "it was never started"
        return self._process

    @property
    def screen(self) -> str:
        """What the last start has shown so far."""
        return "".join(self._lines)

    def environment(self, **more: str) -> dict[str, str]:
        """What a command in this standalone's folder is told."""
        return {**os.environ, "TRADEWIND_HOME": str(self.root), "TRADEWIND_PORT": str(self.port), **more}

    def start(self, *arguments: str, **environment: str) -> None:
        """Start, without waiting for anything."""
        self._lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.standalone", *self._kind, *arguments],
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process, self._lines), daemon=True)
        self._reader.start()

    def shows(self, text: str, seconds: float = SECONDS) -> None:
        """Wait until the screen shows a text."""
        until = time.monotonic() + seconds
        while text not in self.screen:
            ended = self.process.poll() is not None
            if ended and self._reader is not None:
                self._reader.join(SECONDS)  # what it said last may not have been read yet
            if (ended and text not in self.screen) or time.monotonic() > until:
                raise AssertionError(
                    f"{text!r} was not shown; exit code {self.process.poll()}:\n{self.screen}\n{self._logs()}"
                )
            time.sleep(0.005)

    def ends(self, seconds: float = SECONDS) -> int:
        """Wait for its end; returns the exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.screen}\n{self._logs()}") from None
        assert self._reader is not None
        self._reader.join(SECONDS)
        return code

    def play(self) -> None:
        """Start, play the journey to its end, and end; every step must hold."""
        self.start("--once")
        code = self.ends()
        assert code == 0, f"exit code {code}:\n{self.screen}\n{self._logs()}"
        self.journeys += 1

    def kill(self, child: str) -> int:
        """Kill a child as the system would for want of memory; returns its process id."""
        pid = self._holder(child)
        # The file keeps the name of one that is dead, which may be another process's by now: only our own is killed. One that was
        # killed a moment ago and has not come back was killed, as was wanted.
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                if each.pid == pid:
                    each.kill()
        return pid

    def _holder(self, child: str, seconds: float = SECONDS) -> int:
        """Who says that it is this child; waits while the file is being written."""
        until = time.monotonic() + seconds
        while (pid := holder_of(self.home.run / f"{child}.lock")) is None:
            assert time.monotonic() < until, f"{child} was never started:\n{self.screen}"
            time.sleep(0.002)
        return pid

    def kills_when_it_runs(self, child: str, seconds: float = SECONDS) -> None:
        """Kill a child as soon as its process is there, before it can serve."""
        self._holder(child, seconds)
        self.kill(child)

    def running(self) -> set[str]:
        """The children that run: a lock is held for as long as its process lives, whatever became of its number."""
        return {path.stem for path in self.home.run.glob("*.lock") if not _is_free(path)}

    def serves(self, seconds: float = SECONDS) -> None:
        """Wait until it serves, and has said all that it says of that."""
        self.shows("Serving until Ctrl-C", seconds)
        self.shows(SERVES, seconds)
        self.journeys += 1

    def interrupt(self) -> int:
        """End it as Ctrl-C does; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.ends()

    def end(self) -> None:
        """End it, however it is; nothing of it is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def nothing_is_left(self, seconds: float = SECONDS) -> None:
        """Wait until no child runs."""
        until = time.monotonic() + seconds
        while left := self.running():
            assert time.monotonic() < until, left
            time.sleep(0.01)

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `tradewind` command line as it is logged in here."""
        program = Path(sysconfig.get_path("scripts")) / "tradewind"
        return await asyncio.to_thread(
            subprocess.run,
            [str(program), *arguments],
            env=self.environment(TRADEWIND_HOME=str(self.home.root)),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    async def json(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command says as JSON lines; it must succeed. It runs in this process, which starts sooner than another."""
        environment = {"TRADEWIND_HOME": str(self.home.root), "TRADEWIND_PORT": str(self.port)}
        words = flags_first(["--json", *arguments])
        done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def _logs(self) -> str:
        """The end of what every child said, for a failed test."""
        ends = []
        for path in sorted(self.home.logs.glob("*")):
            ends.append(f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}")
        return "\n".join(ends)

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: list[str]) -> None:
        assert process.stdout is not None
        lines.extend(iter(process.stdout.readline, ""))


def _is_free(lock_file: Path) -> bool:
    lock = try_lock(lock_file)
    if lock is not None:
        lock.release()
    return lock is not None
