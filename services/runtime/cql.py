"""The session with a CQL store, ScyllaDB or Apache Cassandra: statements prepared once, sent from the event loop, answered in futures.

It comes up by itself whenever a node of the own data centre does, at the start and after any outage.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from cassandra import DriverException, InvalidRequest, RequestExecutionException
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.policies import ConstantReconnectionPolicy
from cassandra.query import BatchStatement, BatchType
from opentelemetry.metrics import Meter, NoOpMeter

from services.runtime.cql_bridge import Bridge, CqlFailed, Rows
from services.runtime.cql_policies import AGAIN_S, READ, WRITE, profiles

__all__ = ["CqlFailed", "CqlSession", "CqlSettings", "Rows", "Statement", "connect_once"]

_log = structlog.get_logger(__name__)

_PORT: Final = 9042
_RECONNECT_S: Final = 1.0
_CONNECT_S: Final = 3.0
_RETRY_S: Final = (0.25, 2.0)
_SAY_EVERY_S: Final = 30.0
_BOUNDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True)
class CqlSettings:
    """Where a CQL store is and how it is asked.

    Attributes:
        contact_points: host:port of some nodes; the others are found through them.
        local_dc: the data centre whose nodes are asked, and where a quorum counts.
        keyspace: this service's own.
        user, password: where the store asks for them.
        ca_file: PEM certificates that the nodes are signed by; turns TLS on.
        timeout: seconds for one statement with all its tries.
        in_flight: most statements under way at once in this process.
        waiting: most statements that wait beside them.
    """

    contact_points: tuple[str, ...]
    local_dc: str
    keyspace: str
    user: str = ""
    password: str = ""
    ca_file: Path | None = None
    timeout: float = 4.0
    in_flight: int = 1024
    waiting: int = 50_000


@dataclass(frozen=True, slots=True)
class Statement:
    """A prepared statement.

    Attributes:
        name: for metrics.
        prepared: the driver's.
        profile: how it is asked, `cql_policies.READ` or `WRITE`.
        packers: of its values, in order.
    """

    name: str
    prepared: Any
    profile: str
    packers: tuple[Callable[[Any], bytes], ...]

    def pack(self, values: Sequence[Any]) -> list[bytes]:
        """Values as the protocol carries them (CQL binary protocol v4, section 6). The driver's own way costs four times as much.

        Raises:
            TypeError, ValueError, struct.error: a value does not fit its column.
        """
        return [packer(value) for packer, value in zip(self.packers, values, strict=True)]


class _Batch(BatchStatement):  # type: ignore[misc]
    """Writes of one partition, of values already packed."""

    def __init__(self, parts: Sequence[tuple[Statement, Sequence[Any]]]) -> None:
        super().__init__(batch_type=BatchType.UNLOGGED)
        self.is_idempotent = True
        packed = [statement.pack(values) for statement, values in parts]
        for (statement, _), values in zip(parts, packed, strict=True):
            self._add_statement_and_params(True, statement.prepared.query_id, values)
        first = parts[0][0].prepared
        self.keyspace, self.table = first.column_metadata[0].keyspace_name, first.column_metadata[0].table_name
        self.routing_key = _routing_key([packed[0][place] for place in first.routing_key_indexes])


def connect_once(settings: CqlSettings) -> tuple[Cluster, Any]:
    """Connects, blocking; answers the driver's cluster and session.

    Raises:
        CqlFailed: no node of the data centre answers now.
    """
    points = [_point(address) for address in settings.contact_points]
    asked = profiles(settings.local_dc)
    cluster = Cluster(
        points,
        port=points[0][1],
        execution_profiles={EXEC_PROFILE_DEFAULT: asked[READ], **asked},
        protocol_version=4,  # ScyllaDB's; Cassandra's later ones add checksums that cost more here than they find
        compression=False,
        auth_provider=PlainTextAuthProvider(settings.user, settings.password) if settings.user else None,
        ssl_context=_tls(settings.ca_file) if settings.ca_file is not None else None,
        reconnection_policy=ConstantReconnectionPolicy(_RECONNECT_S, max_attempts=None),
        connect_timeout=_CONNECT_S,
        control_connection_timeout=_CONNECT_S,
        # A node that hangs closes no connection; silence for so long counts as closed.
        idle_heartbeat_interval=2,
        idle_heartbeat_timeout=3,
        max_schema_agreement_wait=30,
    )
    try:
        session = cluster.connect()
    except (DriverException, NoHostAvailable, ConnectionException, OSError) as error:
        cluster.shutdown()
        raise CqlFailed(f"no node of the store answers: {type(error).__name__}") from error
    session.use_client_timestamp = False  # every write says its own, or means the server's
    return cluster, session


class CqlSession:
    """A connected store. Make it with `open`."""

    def __init__(
        self,
        settings: CqlSettings,
        opened: tuple[Cluster, Any, Mapping[str, Statement]],
        meter: Meter,
        raises: Callable[[str], Exception],
    ) -> None:
        self._settings = settings
        self._cluster, session, self._statements = opened
        self._raises = raises
        self._bridge = Bridge(
            session,
            in_flight=settings.in_flight,
            waiting=settings.waiting,
            measured=_measure(meter),
            again=AGAIN_S,
            raises=raises,
        )

    @classmethod
    async def open(
        cls,
        settings: CqlSettings,
        texts: Mapping[str, str],
        meter: Meter | None = None,
        *,
        patience: float | None = None,
        raises: Callable[[str], Exception] = CqlFailed,
    ) -> CqlSession:
        """Connects and prepares the statements; waits for as long as the store or its tables are not there, and says so.

        Args:
            settings: where and how.
            texts: statement by name; `{keyspace}` stands for the keyspace.
            meter: for latencies and errors by statement.
            patience: seconds after which waiting ends; None waits for ever.
            raises: makes what a failed statement raises of one sentence that says why.

        Raises:
            CqlFailed: patience ended.
        """
        wait, waited, said = _RETRY_S[0], 0.0, -_SAY_EVERY_S
        while True:
            try:
                opened = await _connected(settings, texts)
                return cls(settings, opened, meter or NoOpMeter("cql"), raises)
            except CqlFailed as error:
                if patience is not None and waited >= patience:
                    raise raises(str(error)) from error
                if waited - said >= _SAY_EVERY_S:
                    _log.warning("store_awaited", reason=str(error))
                    said = waited
            await asyncio.sleep(wait)
            waited += wait
            wait = min(_RETRY_S[1], wait * 2)

    def __getitem__(self, name: str) -> Statement:
        """A prepared statement by its name."""
        return self._statements[name]

    def execute(
        self, statement: Statement, values: Sequence[Any], *, timeout: float | None = None
    ) -> asyncio.Future[Rows]:
        """Sends one statement; the future carries all its rows, or CqlFailed.

        Args:
            statement: from this session.
            values: what its `?` stand for.
            timeout: seconds; never more than the settings give.

        Raises:
            CqlFailed: a value does not fit its column, or nothing is taken now.
        """
        try:
            bound = statement.prepared.bind(values)
        except _UNFIT as error:
            raise self._raises(f"a value does not fit the store: {type(error).__name__}") from error
        return self._bridge.send(statement.name, bound, statement.profile, self._within(timeout))

    def batch(
        self, name: str, parts: Sequence[tuple[Statement, Sequence[Any]]], *, timeout: float | None = None
    ) -> asyncio.Future[Rows]:
        """Sends writes of ONE partition as one: each replica applies all or none. Raises like `execute`."""
        try:
            batch = _Batch(parts)
        except _UNFIT as error:
            raise self._raises(f"a value does not fit the store: {type(error).__name__}") from error
        return self._bridge.send(name, batch, WRITE, self._within(timeout))

    async def close(self) -> None:
        """Waits for what is under way and lets go of the store."""
        await self._bridge.close()
        await asyncio.to_thread(self._cluster.shutdown)

    def _within(self, timeout: float | None) -> float:
        most = self._settings.timeout
        return most if timeout is None or timeout > most else max(timeout, 0.001)


_Opened = tuple[Cluster, Any, Mapping[str, Statement]]

_UNFIT: Final = (TypeError, ValueError, OverflowError, struct.error)
"""What the driver raises for values that fit no column."""


def _text(value: str) -> bytes:
    return value.encode()


def _blob(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("no bytes")
    return value


_PACKERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "int": struct.Struct(">i").pack,
    "bigint": struct.Struct(">q").pack,
    "varchar": _text,
    "text": _text,
    "blob": _blob,
}


def _routing_key(parts: Sequence[bytes]) -> bytes:
    """The partition key as servers hash it: alone as it is, of several columns each with its length before it and a 0 behind."""
    if len(parts) == 1:
        return parts[0]
    return b"".join(len(part).to_bytes(2, "big") + part + b"\0" for part in parts)


def _prepared(settings: CqlSettings, texts: Mapping[str, str]) -> _Opened:
    cluster, session = connect_once(settings)
    try:
        statements = {}
        for name, text in texts.items():
            prepared = session.prepare(text.replace("{keyspace}", settings.keyspace))
            prepared.is_idempotent = True
            packers = tuple(_PACKERS[column.type.typename] for column in prepared.column_metadata)
            statements[name] = Statement(name, prepared, READ if text.lstrip().startswith("SELECT") else WRITE, packers)
        return cluster, session, statements
    except (DriverException, RequestExecutionException, InvalidRequest, NoHostAvailable, ConnectionException) as error:
        cluster.shutdown()
        missing = isinstance(error, InvalidRequest)
        reason = "it lacks the tables: apply the migrations" if missing else type(error).__name__
        raise CqlFailed(f"the store cannot be used: {reason}") from error


async def _connected(settings: CqlSettings, texts: Mapping[str, str]) -> _Opened:
    """Connects in a thread. Who is cancelled meanwhile leaves no connection behind."""
    opening = asyncio.ensure_future(asyncio.to_thread(_prepared, settings, texts))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_let_go)
        raise


def _let_go(opening: asyncio.Future[_Opened]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        threading.Thread(target=opening.result()[0].shutdown, name="cql-let-go", daemon=True).start()


def _measure(meter: Meter) -> Any:
    if isinstance(meter, NoOpMeter):
        return None
    latency = meter.create_histogram(
        "db.client.operation.duration",
        unit="s",
        description="Time of a statement to the store with all its tries, by statement and outcome",
        explicit_bucket_boundaries_advisory=_BOUNDS,
    )
    labels: dict[tuple[str, bool], dict[str, str]] = {}

    def measured(name: str, seconds: float, failed: bool) -> None:
        label = labels.get((name, failed))
        if label is None:
            outcome = "failed" if failed else "done"
            label = labels[name, failed] = {"db.operation.name": name, "tradewind.outcome": outcome}
        latency.record(seconds, label)

    return measured


def _point(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return (host, int(port)) if host else (port, _PORT)


def _tls(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
