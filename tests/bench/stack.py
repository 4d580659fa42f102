"""The processes under measurement: a nats-server and services as anybody would run them, in a folder of their own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.tokens import Signer, make_key_pair
from tests.ports import free_port
from tests.servers import NatsServer

READY_SECONDS = 30.0


class Stack:
    """A nats-server, and services started one by one; everything ends with `stop`.

    Args:
        folder: for stores, keys and logs.
        trace_ratio: share of traces sampled, as in production.
    """

    def __init__(self, folder: Path, trace_ratio: float = 0.01) -> None:
        self.folder = folder
        self.nats = NatsServer(folder / "nats", ["max_payload: 8MB"])
        self._private, self._public = folder / "private.pem", folder / "public.pem"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ratio = trace_ratio

    def start(self) -> None:
        """Makes keys and starts nats-server."""
        self.folder.mkdir(parents=True, exist_ok=True)
        make_key_pair(self._private, self._public)
        self.nats.start()

    def token(self, subject: str, *roles: str, tenant: str = "bench") -> str:
        """A token that lasts longer than any measurement."""
        return Signer.from_file(self._private).mint(subject, tenant, roles, ttl=7200)

    async def serve(self, name: str, module: str, environment: Mapping[str, str] | None = None) -> str:
        """Starts a service and waits until it is healthy; its address."""
        address = f"127.0.0.1:{free_port()}"
        variables = {
            "TRADEWIND_LISTEN": address,
            "TRADEWIND_NATS_URLS": self.nats.url,
            "TRADEWIND_AUTH_PUBLIC_KEY_FILES": str(self._public),
            "TRADEWIND_SERVICE_KEY_FILE": str(self._private),
            "TRADEWIND_STORE_FILE": str(self.folder / f"{name}.db"),
            "TRADEWIND_TRACE_RATIO": str(self._ratio),
            "TRADEWIND_TRACE_DIR": str(self.folder / "traces"),
            "TRADEWIND_RATE_LIMIT": "1000000",
            "TRADEWIND_RATE_BURST": "1000000",
            "TRADEWIND_TENANT_RATE_LIMIT": "1000000",
            "TRADEWIND_TENANT_RATE_BURST": "1000000",
            "TRADEWIND_TENANT_SHARE": "1",
            "TRADEWIND_USER_MESSAGE_RATE": "1000000",
            "TRADEWIND_USER_MESSAGE_BURST": "1000000",
            "TRADEWIND_CONVERSATION_MESSAGE_RATE": "1000000",
            "TRADEWIND_CONVERSATION_MESSAGE_BURST": "1000000",
            "TRADEWIND_LOG_LEVEL": "warning",
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, **variables, **(environment or {})},
            )  # fmt: skip
        await self._healthy(name, address)
        return address

    def cpu(self, name: str) -> float:
        """CPU seconds a process has used, user and system; "nats" is the log."""
        times = psutil.Process(self.nats.pid if name == "nats" else self._processes[name].pid).cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self, name: str) -> int:
        """Memory a process holds."""
        return int(psutil.Process(self._processes[name].pid).memory_info().rss)

    def stop(self) -> None:
        """Ends everything this stack started."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.nats.stop()

    async def _healthy(self, name: str, address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(READY_SECONDS):
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                if self._processes[name].poll() is not None:
                    raise RuntimeError(f"{name} ended: {(self.folder / f'{name}.log').read_text()[-2000:]}")
                try:
                    answer = await stub.Check(health_pb2.HealthCheckRequest())
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
