"""A tally: the smallest aggregate there is, to test the ledger with. It counts, refuses to go below zero, and may want a timer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nats as nats_client
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from services.ledger.archive import Archive, Row
from services.ledger.cql import CqlArchive
from services.ledger.decider import Kind, Request
from services.ledger.engine import Limits, NoTracer
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings
from services.ledger.sqlite import SqliteArchive
from services.runtime.cql import CqlSettings


class Refused(Exception):
    """The tally does not go below zero."""

    reason = "STOCK_BELOW_ZERO"


@dataclass(frozen=True, slots=True)
class Tally:
    """How much was counted, in how many steps, and when it wants to be woken (µs; 0: never)."""

    total: int = 0
    steps: int = 0
    wake_at: int = 0


@dataclass(frozen=True, slots=True)
class Add:
    """Counts."""

    amount: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Wants to be woken at a time in µs; 0: no more."""

    time_us: int


Event = int | str


def decide(state: Tally, command: Add | WakeAt) -> Sequence[Event]:
    """Counts, or refuses."""
    if isinstance(command, WakeAt):
        return (f"wake {command.time_us}",)
    if state.total + command.amount < 0:
        raise Refused
    return (command.amount,) if command.amount else ()


def evolve(state: Tally, event: Event) -> Tally:
    """Applies one event."""
    if isinstance(event, str):
        return replace(state, steps=state.steps + 1, wake_at=int(event.split()[1]))
    return replace(state, total=state.total + event, steps=state.steps + 1)


def encode(event: Event, _version: int) -> bytes:
    """An event as bytes."""
    if isinstance(event, str):
        return b"s" + StringValue(value=event).SerializeToString()
    return b"i" + Int64Value(value=event).SerializeToString()


def decode(payload: bytes) -> Event:
    """The inverse of encode."""
    if payload[:1] == b"s":
        return str(StringValue.FromString(payload[1:]).value)
    return int(Int64Value.FromString(payload[1:]).value)


def rows(aggregate: AggregateId, state: Tally, _events: Sequence[tuple[int, Event]]) -> list[Row]:
    """The read model: the total, under the tenant."""
    return [Row("totals", aggregate.tenant, aggregate.id, str(state.total).encode())]


TALLY: Kind[Tally, Any, Event] = Kind(
    name="tally", initial=Tally, decide=decide, evolve=evolve, encode=encode, decode=decode, state_type=Tally,
    rows=rows, timers=lambda state: {"wake": state.wake_at} if state.wake_at else {},
)  # fmt: skip


def tally(name: str) -> AggregateId:
    """A tally of the tenant "acme"."""
    return AggregateId("acme", "tally", name)


def request(name: object, content: object = "", at_us: int | None = None) -> Request:
    """A request with an id made of a name: the same name, the same id."""
    made = 1_700_000_000_000_000 if at_us is None else at_us
    return Request(derive_request_id(made, str(name)), fingerprint(str(content)))


def fresh_request(content: object = "") -> Request:
    """A request nobody made before."""
    now = time.time_ns()
    return Request(derive_request_id(now // 1000, str(now)), fingerprint(str(content)))


PLACES = "cql.json"
"""Beside a file that stands for a keyspace instead: the settings of each, by the file's name."""


async def open_archive(file: Path, sliced: Mapping[str, int] | None = None) -> Archive:
    """The archive in a file, or in the keyspace that it stands for, where read models are cut as `sliced` says."""
    places = file.with_name(PLACES)
    if not places.exists():
        return SqliteArchive.open(file)
    settings = json.loads(places.read_text(encoding="utf-8"))[file.name]
    return await CqlArchive.open(CqlSettings(**settings), sliced=sliced, patience=60.0)


@asynccontextmanager
async def open_ledger(
    url: str, file: Path, *, service: str = "tallies", exclusive: bool = False, limits: Limits | None = None,
    max_age: float = 7 * 24 * 3600.0,
) -> AsyncIterator[Ledger]:  # fmt: skip
    """A server's ledger on a real log and a real archive; several may be open at once, as several servers."""
    client = await nats_client.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    archive = await open_archive(file)
    settings = LogSettings(service, partitions=2, exclusive=exclusive, max_age=max_age)
    ledger = await Ledger.open(client, archive, NoTracer(), settings, [TALLY], limits)
    try:
        yield ledger
    finally:
        await ledger.close()
        await archive.close()
        await client.close()


async def eventually(check: Any, timeout: float = 60.0) -> Any:
    """Waits until an async check answers something true; fails after `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while not (answer := await check()):
            await asyncio.sleep(0.02)
    return answer
