"""The one shape of a service's process: settings, telemetry, log, store, ledger, server, and the way down.

A service's `__main__` says what is its own (kinds of aggregates, handlers, consumers); all else is here.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, TypeVar

import structlog
from nats.aio.client import Client
from opentelemetry.metrics import Meter
from pydantic import Field
from tradewind.admin.v1 import admin_service_pb2

from services.ledger.admin import POLICY as ADMIN_POLICY
from services.ledger.admin import AdminService
from services.ledger.archive import Archive
from services.ledger.cql import CqlArchive
from services.ledger.decider import Kind
from services.ledger.errors import LogLost, StoreLost, StoreUnavailable
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings
from services.ledger.sqlite import SqliteArchive
from services.runtime import nats
from services.runtime.config import Seconds
from services.runtime.cql_config import CqlConfig
from services.runtime.policy import Policy
from services.runtime.server import Server
from services.runtime.sharing import Sharing
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator

CANNOT_START = 3
"""Exit code where an operator must act first: the log or the store was lost."""
START_AGAIN = 4
"""Exit code where the log began a new life or the store was restored: start the process again, and it goes on."""
_TELL_EVERY = 30.0
_LOOK_AGAIN = 1.0


class ServiceSettings(CqlConfig):
    """What every service with a ledger can be told."""

    store: Literal["sqlite", "cql"] = "sqlite"
    """What remembers this service's events and read models: one file, or a keyspace of ScyllaDB or Apache Cassandra."""
    store_file: Path = Path("tradewind.db")
    """The SQLite file that remembers this service's events and read models."""
    log_partitions: int = Field(4, ge=1, le=256)
    """Into how many parts consumers share the log; the same in all processes, and never changed in a log's life."""
    log_replicas: int = Field(1, ge=1, le=5)
    """Copies of the log."""
    log_max_age: Seconds = Field(7 * 24 * 3600.0, ge=4.0)
    """How long entries stay in the log; the store keeps them for ever."""
    log_max_bytes: int = Field(-1, ge=-1)
    """Most bytes of the log; when it is full, writes are refused until entries have aged out. -1: what the log's servers hold."""
    log_exclusive: bool = False
    """This process owns log and store alone and may begin a new life of a lost log by itself, as standalone does."""


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


@dataclass(frozen=True)
class Host(Generic[SettingsT]):
    """What a service's `__main__` wires its own parts to."""

    name: str
    settings: SettingsT
    telemetry: Telemetry
    nats: Client
    archive: Archive
    ledger: Ledger
    server: Server
    sharing: Sharing


@asynccontextmanager
async def host(
    name: str,
    settings: SettingsT,
    kinds: Iterable[Kind[Any, Any, Any]],
    policy: Policy,
    *,
    sliced: Mapping[str, int] | None = None,
) -> AsyncIterator[Host[SettingsT]]:
    """Opens everything a service stands on, and closes it in order at the end.

    `sliced`: by read model whose partitions would grow too large, how many characters of a key say which slice it is in; never changed.

    Where the log or the store was lost and an operator must act, it waits for that; a process that owns both alone (standalone) ends
    with code 3 and one line instead. Ends with code 4 where another life of the log, or another store, took this one's place.
    """
    telemetry = Telemetry.start(name, settings)
    authenticator = Authenticator.from_files(
        settings.auth_public_key_files,
        issuer=settings.auth_issuer,
        audience=settings.auth_audience,
        leeway=settings.auth_leeway,
    )
    client = await nats.connect(settings, name)
    log = log_settings(name, settings)
    try:
        archive = await open_archive(name, settings, sliced=sliced, meter=telemetry.meter)
    except StoreUnavailable as error:
        _end(error)
    try:
        ledger = await _open_ledger(client, archive, telemetry, log, kinds)
        server = Server(settings, telemetry, authenticator, {**ADMIN_POLICY, **policy})
        server.add(admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"], AdminService(ledger))
        sharing = Sharing(client, name, server.limiters)
        await sharing.start()
        ending = asyncio.create_task(_end_with(ledger, server), name="life-over")
        try:
            yield Host(name, settings, telemetry, client, archive, ledger, server, sharing)
        finally:
            ending.cancel()
            await sharing.close()
            await ledger.close()
        if ledger.over.is_set():
            raise SystemExit(START_AGAIN)
    finally:
        await archive.close()
        await client.close()


def log_settings(name: str, settings: ServiceSettings) -> LogSettings:
    """How a service's log is kept."""
    return LogSettings(
        name,
        partitions=settings.log_partitions,
        replicas=settings.log_replicas,
        max_age=settings.log_max_age,
        max_bytes=settings.log_max_bytes,
        exclusive=settings.log_exclusive,
    )


async def open_archive(
    name: str, settings: ServiceSettings, *, sliced: Mapping[str, int] | None = None, meter: Meter | None = None
) -> Archive:
    """Opens a service's store, for the service and for the operator's commands; waits for a CQL store that is not there.

    Raises:
        StoreUnavailable: it cannot be opened.
    """
    if settings.store == "sqlite":
        return SqliteArchive.open(settings.store_file)
    return await CqlArchive.open(settings.cql(f"tradewind_{name}"), sliced=sliced, meter=meter)


async def _open_ledger(
    client: Client, archive: Archive, telemetry: Telemetry, log: LogSettings, kinds: Iterable[Kind[Any, Any, Any]]
) -> Ledger:
    kinds, told = tuple(kinds), -_TELL_EVERY
    while True:
        try:
            return await Ledger.open(client, archive, telemetry, log, kinds)
        except StoreUnavailable as error:
            if log.exclusive or (isinstance(archive, SqliteArchive) and not isinstance(error, StoreLost)):
                _end(error)
            reason = str(error)
        except LogLost as error:
            if log.exclusive:
                _end(error)
            reason = str(error)
        now = time.monotonic()
        if now - told >= _TELL_EVERY:
            told = now
            structlog.get_logger().error("start_waits", reason=reason)
            sys.stderr.write(f"waiting: {reason}\n")
        await asyncio.sleep(_LOOK_AGAIN)


async def _end_with(ledger: Ledger, server: Server) -> None:
    await ledger.over.wait()
    server.end()


def _end(error: Exception) -> NoReturn:
    structlog.get_logger().error("cannot_start", reason=str(error))
    sys.stderr.write(f"cannot start: {error}\n")
    raise SystemExit(CANNOT_START) from error
