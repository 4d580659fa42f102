"""A small stage: one nats-server, two processes of each service on one SQLite file a service, gateway and mail server beside them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.tokens import Signer, make_key_pair
from services.standalone.cassandra.node import DATACENTER
from services.standalone.child import START_AGAIN_EXIT_CODE
from tests.drills.checker.evidence import History
from tests.drills.checker.raw import sqlite_log
from tests.drills.checker.raw_cql import cql_log
from tests.drills.links import Links
from tests.drills.processes import is_stopped, run_module
from tests.drills.stage import TENANT, OperatorFailed
from tests.ports import free_port
from tests.servers import CassandraCluster, CassandraServer, NatsServer
from tests.smtp_sink import Sink

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120.0
_MIGRATE_TRIES = 3
_MODULES = {
    "chat": "services.chat", "order": "services.order", "mail": "services.mail",
    "payments": "services.payments_simulator",
}  # fmt: skip
CHANNEL_OPTIONS = (
    ("grpc.lb_policy_name", "round_robin"), ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1),
)  # fmt: skip
"""Clients come back quickly and repeat nothing behind the recorder's back."""


class SmallStage:
    """See `stage.Stage`. Use it as an async context.

    Args:
        services: which to run.
        nats_options: further lines of nats-server's configuration.
        own: settings of a service or of one process ("chat", "chat-2"), by their names without the prefix.
        linked: each process reaches the log over a link of its own.
        nodes: a running store, instead of SQLite files.
    """

    def __init__(
        self, folder: Path, services: Sequence[str] = ("chat", "order", "mail"), *, each: int = 2,
        nats_options: Sequence[str] = (), own: Mapping[str, Mapping[str, str]] | None = None,
        linked: bool = False, nodes: CassandraCluster | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.services = folder, tuple(services)
        self.nats = NatsServer(folder / "nats", ["max_payload: 8MB", *nats_options])
        self.sink = Sink(slow_seconds=6.0)
        self.own = {name: dict(values) for name, values in (own or {}).items()}
        self._private, self._public = folder / "private.pem", folder / "public.pem"
        self.links = Links()
        self._keeper: asyncio.Task[None] | None = None
        self._each, self._linked, self._nodes = each, linked, nodes
        self._ports: dict[str, int] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    async def __aenter__(self) -> Self:
        """Starts everything; returns when all serve."""
        self.folder.mkdir(parents=True, exist_ok=True)
        make_key_pair(self._private, self._public)
        await asyncio.to_thread(self.nats.start)
        if self._nodes is not None:
            await self._migrate()
        await self.sink.__aenter__()
        names = ["payments"] if "order" in self.services else []
        names += [f"{service}-{n + 1}" for service in self.services for n in range(self._each)]
        self._ports = {name: free_port() for name in names}
        try:
            for name in names:
                if self._linked and name != "payments":
                    await self._link(name)
                self._spawn(name)
            for name in names:
                await self.serving(name)
        except BaseException:
            await self._stop()
            raise
        self._keeper = asyncio.create_task(self._keep(), name="keeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._stop()

    def parts(self, what: str) -> Sequence[str]:
        """See `Stage.parts`."""
        if what == "nats":
            return ["nats"]
        if what == "cql":
            return [server.node.name for server in self._nodes.servers] if self._nodes is not None else []
        return [name for name in self._ports if name.partition("-")[0] == what]

    def address(self, part: str) -> str:
        """Where one process listens."""
        return f"127.0.0.1:{self._ports[part]}"

    def channel(self, service: str) -> grpc.aio.Channel:
        """See `Stage.channel`: calls go round the processes that can be reached."""
        target = "ipv4:" + ",".join(self.address(part) for part in self.parts(service))
        return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)

    def token(self, subject: str, *roles: str) -> str:
        """See `Stage.token`."""
        return Signer.from_file(self._private).mint(subject, TENANT, roles, ttl=7200)

    def history(self, service: str) -> Mapping[str, History]:
        """See `Stage.history`."""
        if self._nodes is not None:
            return cql_log(self._nodes.contact_points, DATACENTER, f"tradewind_{service}")
        return sqlite_log(self.folder / f"{service}.db")

    def received(self) -> Counter[str]:
        """See `Stage.received`."""
        return Counter(mail.recipient for mail in self.sink.mails)

    async def kill(self, part: str) -> None:
        """See `Stage.kill`."""
        if part == "nats" or part in self.parts("cql"):
            await asyncio.to_thread(self._server(part).kill)
            return
        process = self._processes.pop(part)
        process.kill()
        await asyncio.to_thread(process.wait)

    async def stop(self, part: str) -> None:
        """See `Stage.stop`."""
        if part == "nats":
            await asyncio.to_thread(self.nats.stop)
            return
        process = self._processes.pop(part)
        process.terminate()
        await asyncio.to_thread(process.wait)

    async def wipe(self, part: str) -> None:
        """See `Stage.wipe`."""
        await asyncio.to_thread(self.nats.wipe)

    async def start(self, part: str) -> None:
        """See `Stage.start`."""
        if part == "nats" or part in self.parts("cql"):
            await asyncio.to_thread(self._server(part).start)
        else:
            self._spawn(part)

    async def pause(self, part: str) -> None:
        """See `Stage.pause`."""
        self._signal(part, signal.SIGSTOP)

    async def resume(self, part: str) -> None:
        """See `Stage.resume`."""
        self._signal(part, signal.SIGCONT)

    def pid(self, part: str) -> int | None:
        """See `Stage.pid`."""
        if part == "nats" or part in self.parts("cql"):
            server = self._server(part)
            return server.pid if server.running else None
        process = self._processes.get(part)
        return process.pid if process is not None and process.poll() is None else None

    def log_urls(self) -> list[str]:
        """See `Stage.log_urls`."""
        return [self.nats.url]

    def log_folder(self, part: str) -> Path:
        """See `Stage.log_folder`."""
        return self.nats.store

    def store_file(self, service: str) -> Path | None:
        """See `Stage.store_file`."""
        return self.folder / f"{service}.db" if self._nodes is None else None

    async def operate(self, *arguments: str) -> None:
        """See `Stage.operate`."""
        service = arguments[arguments.index("--service") + 1]
        told = {**self._shared, "STORE_FILE": str(self.folder / f"{service}.db"), **self.own.get("all", {})}
        variables = {f"TRADEWIND_{key}": value for key, value in told.items()}
        await run_module("services.operate", arguments, self.folder, {**variables, **self._nodes_settings()})

    async def lose_store(self) -> None:
        """See `Stage.lose_store`."""
        if self._nodes is not None:
            await asyncio.to_thread(self._nodes.stop)
            await asyncio.to_thread(self._nodes.wipe)
            await asyncio.to_thread(self._nodes.start)
            await self._migrate()
            return
        parts = [part for service in self.services for part in self.parts(service)]
        await asyncio.gather(*(self.kill(part) for part in parts))
        for service in self.services:
            for file in self.folder.glob(f"{service}.db*"):
                file.unlink()
        for part in parts:
            await self.start(part)

    def stopped(self, part: str) -> bool:
        """See `Stage.stopped`."""
        return is_stopped(self.pid(part))

    def log_text(self, part: str) -> str:
        """What a process has said so far."""
        return (self.folder / f"{part}.log").read_text(encoding="utf-8", errors="replace")

    async def serving(self, part: str) -> None:
        """See `Stage.serving`."""
        if part == "nats" or part in self.parts("cql"):
            return  # its start waits until it serves
        async with grpc.aio.insecure_channel(self.address(part)) as channel, asyncio.timeout(READY_SECONDS):
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                if self.pid(part) is None:
                    raise RuntimeError(f"{part} ended: {self.log_text(part)[-2000:]}")
                try:
                    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2.0)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)

    def _server(self, part: str) -> NatsServer | CassandraServer:
        if self._nodes is None or part == "nats":
            return self.nats
        return next(server for server in self._nodes.servers if server.node.name == part)

    def _nodes_settings(self) -> Mapping[str, str]:
        return self._nodes.settings() if self._nodes is not None else {}

    async def _migrate(self) -> None:
        keyspaces = [f"tradewind_{service}" for service in self.services]
        for turn in range(_MIGRATE_TRIES):
            try:
                await run_module("services.migrate", keyspaces, self.folder, self._nodes_settings())
                return
            except OperatorFailed:  # nodes of a busy machine may not agree in time; the command can be repeated
                if turn == _MIGRATE_TRIES - 1:
                    raise

    @property
    def _shared(self) -> dict[str, str]:
        return {
            "NATS_URLS": self.nats.url,
            "AUTH_PUBLIC_KEY_FILES": str(self._public),
            "SERVICE_KEY_FILE": str(self._private),
        }

    async def _keep(self) -> None:
        """Starts again at once who says so by its exit code; whoever was killed waits for the drill."""
        while True:
            await asyncio.sleep(0.1)
            for part, process in list(self._processes.items()):
                if process.poll() == START_AGAIN_EXIT_CODE:
                    self._spawn(part)

    async def _link(self, part: str) -> None:
        true = urlsplit(self.nats.url)
        link = await self.links.open(part, "nats", (str(true.hostname), int(true.port or 0)))
        self.own.setdefault(part, {})["NATS_URLS"] = f"nats://127.0.0.1:{link.port}"

    def _signal(self, part: str, number: signal.Signals) -> None:
        pid = self.pid(part)
        if pid is not None:
            os.kill(pid, number)

    def _spawn(self, part: str) -> None:
        service = part.partition("-")[0]
        paths = [str(ROOT / "tests" / "drills" / "inside"), str(ROOT), str(ROOT / "clients" / "python")]
        environment = {
            **self._shared,
            "LISTEN": f"127.0.0.1:{self._ports[part]}",
            "STORE_FILE": str(self.folder / f"{service}.db"),
            "TRACE_RATIO": "0",
            "RATE_LIMIT": "0",
            "TENANT_RATE_LIMIT": "0",
            "USER_MESSAGE_RATE": "0",
            "CONVERSATION_MESSAGE_RATE": "0",
            "DRAIN_GRACE": "5",
            "LOG_LEVEL": "warning",
            "SMARTHOST": f"127.0.0.1:{self.sink.port}",
            "SMTP_TLS": "never",
            "SMTP_COMMAND_TIMEOUT": "2",
            "SMTP_DATA_TIMEOUT": "2",
            "SMTP_ATTEMPT_MARGIN": "2",
            "RETRY_FIRST": "1",
            "RETRY_MOST": "4",
            "EXPIRE_AFTER": "20",
            "RESERVATION_LIVES": "30",
            **({"PAYMENT_GATEWAY": self.address("payments")} if "payments" in self._ports else {}),
            **({} if "order" in self.services else {"ORDER_EVENTS": "false"}),
            **self.own.get("all", {}),
            **self.own.get(service, {}),
            **self.own.get(part, {}),
        }
        variables = {f"TRADEWIND_{key}": value for key, value in environment.items()}
        variables |= {
            **self._nodes_settings(),
            "PYTHONPATH": os.pathsep.join(paths),
            "DRILL_PART": part,
            "DRILL_FOLDER": str(self.folder),
        }
        with (self.folder / f"{part}.log").open("ab") as log:
            self._processes[part] = subprocess.Popen(
                [sys.executable, "-m", _MODULES[service]], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=ROOT, env={**os.environ, **variables},
            )  # fmt: skip

    async def _stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # a paused one must hear it too
        for process in self._processes.values():
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        await self.links.close()
        await self.sink.__aexit__(None, None, None)
        await asyncio.to_thread(self.nats.stop)
