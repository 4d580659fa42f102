"""Builds, runs and drains a gRPC server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor

from services.runtime import health, policy
from services.runtime.admission import Admission
from services.runtime.config import RuntimeSettings, Unstartable
from services.runtime.gate import Gate
from services.runtime.limits import RateLimiter
from services.runtime.logs import describe
from services.runtime.policy import Policy
from services.runtime.rpc import Rpc
from services.runtime.signals import told_to_end
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator

Hook = Callable[[], Awaitable[Any]]


class CannotListen(Unstartable):
    """The address is taken, or the certificate does not fit its key."""


class Server:
    """A gRPC server whose calls all pass one gate. Make it inside a running loop."""

    def __init__(
        self, settings: RuntimeSettings, telemetry: Telemetry, authenticator: Authenticator, policy: Policy
    ) -> None:
        """Serve by ``settings`` to those that ``authenticator`` knows and ``policy`` allows."""
        self.port = 0
        self._settings = settings
        self._telemetry = telemetry
        self._policy = {**health.public_policy(), **policy}
        self._gate = Gate(settings, telemetry, authenticator)
        self._health = health.Health()
        self._services: list[str] = []
        self._log = structlog.get_logger()
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._grpc: grpc.aio.Server | None = None
        self._drained = False
        self._told: asyncio.Event | None = None

    @property
    def draining(self) -> asyncio.Event:
        """Set when the server drains; every Call shares it."""
        return self._gate.draining

    @property
    def limiters(self) -> tuple[RateLimiter, ...]:
        """The rates of callers and tenants, to be shared with other processes."""
        return (self._gate.limits.caller, self._gate.limits.tenant)

    def admit_by(self, admission: Admission) -> None:
        """Turn away by a rule of the service's own, beside tokens and roles; public methods are not asked for."""
        self._gate.admission = admission

    def add(self, service: ServiceDescriptor, handler: object) -> None:
        """Serve a service. Raises PolicyGap for an rpc without roles in the table, AttributeError for one without a handler."""
        handlers = {}
        for method in service.methods:
            path = f"/{service.full_name}/{method.name}"
            policy.check({path: self._policy[path]} if path in self._policy else {}, [path])
            handlers[method.name] = Rpc(
                method, getattr(handler, method.name), self._policy[path], self._gate
            ).grpc_handler()
        self._handlers.append(grpc.method_handlers_generic_handler(service.full_name, handlers))
        self._services.append(service.full_name)

    async def start(self) -> int:
        """Listen, and give the port. Raises CannotListen."""
        self.add(health.HEALTH, self._health)
        if self._settings.reflection:
            self.add(health.REFLECTION, health.Reflection([*self._services, health.REFLECTION.full_name]))
        server = grpc.aio.server(options=_options(self._settings))
        server.add_generic_rpc_handlers(self._handlers)
        try:
            self.port = self._bind(server)
        except CannotListen:
            await server.stop(None)
            raise
        self._grpc = server
        await server.start()
        self._health.serve(self._services)
        self._log.info("server_listening", listen=self._settings.listen, port=self.port, services=self._services)
        return self.port

    async def run_until_signal(self, on_drain: Sequence[Hook] = ()) -> None:
        """Start unless started, serve until the process is told to end (SIGTERM, SIGINT, the parent's death, ``end``), then drain."""
        with told_to_end() as told:
            self._told = told
            if not self.port:
                await self.start()
            await told.wait()
            await self.drain(on_drain)

    def end(self) -> None:
        """End as a signal would."""
        if self._told is not None:
            self._told.set()

    async def drain(self, on_drain: Sequence[Hook] = ()) -> None:
        """Stop in order: say so, let streams end themselves, run the hooks, wait for calls, stop, send the telemetry; all bounded."""
        if self._drained:
            return
        self._drained = True
        loop = asyncio.get_running_loop()
        self._log.info("drain_started", inside=self._gate.inside())
        self._health.stop()
        if self._settings.drain_delay:
            await asyncio.sleep(self._settings.drain_delay)
        self._gate.refusing = True
        self._gate.draining.set()
        until = loop.time() + self._settings.drain_grace
        for hook in on_drain:
            await self._run_hook(hook, until - loop.time())
        if self._grpc is not None:
            await self._grpc.stop(max(0.0, until - loop.time()))
        self._log.info("drain_done", cut_off=self._gate.inside())
        await self._telemetry.close()

    async def _run_hook(self, hook: Hook, seconds: float) -> None:
        name = getattr(hook, "__qualname__", type(hook).__name__)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await hook()
        except TimeoutError:
            self._log.warning("drain_hook_late", hook=name)
        except Exception as error:  # noqa: BLE001 (one failed hook must not keep the others from running)
            self._log.error("drain_hook_failed", hook=name, **describe(error))

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        _try(settings.listen)
        try:
            if settings.tls_cert_file is None or settings.tls_key_file is None:
                return server.add_insecure_port(settings.listen)
            roots = settings.tls_client_ca_file.read_bytes() if settings.tls_client_ca_file else None
            pair = (settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())
            credentials = grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)
            return server.add_secure_port(settings.listen, credentials)
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {settings.listen}: the address is taken or not ours") from error


def _try(listen: str) -> None:
    """Bind the address for a moment: grpc would say that it is taken in many lines of its own."""
    host, _, port = listen.rpartition(":")
    if port == "0":
        return
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CannotListen(f"cannot listen on {listen}: {(error.strerror or str(error)).lower()}") from error


def _options(settings: RuntimeSettings) -> list[tuple[str, int]]:
    options = [
        # Two servers on one port would each get half the calls, unnoticed.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes * 4),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),
        # Calls that came and were not looked at yet. gRPC would turn some away from 1,000 on, with no reason given; when all streams of
        # another server come over at once, that is soon reached. Above it the gate says what there is no room for.
        ("grpc.server.max_pending_requests", settings.max_streams),
        ("grpc.server.max_pending_requests_hard_limit", settings.max_streams),
        # Headers hold a token; eight kilobytes is the longest one taken.
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.keepalive_time_ms", int(settings.keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A balancer asks for a sign of life every second, also while idle, so that streams of a process that hangs soon move on.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if settings.max_connection_age:
        options.append(("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)))
        options.append(("grpc.max_connection_age_grace_ms", int(settings.drain_grace * 1000)))
    return options
