"""What Chat's processes say to each other about presence: JSON over core NATS, told at most once and never stored.

Leases travel as the seconds that are left of them, since no two processes share a monotonic clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from services.chat.presence.domain import Device, Person, State
from services.chat.presence.slots import Key

PREFIX: Final = "tradewind.chat.presence"
BEATS: Final = f"{PREFIX}.beat"
"""Every process says here that it lives."""


REPORT: Final = "report"
QUESTION: Final = "ask"


def reports_of(slot: int) -> str:
    """Name the subject on which a slot's devices are reported; all its homes hear it, the first of them answers."""
    return f"{PREFIX}.{slot}.home.{REPORT}"


def questions_of(slot: int) -> str:
    """Name the subject on which is asked who of a slot is there; its first home answers."""
    return f"{PREFIX}.{slot}.home.{QUESTION}"


def all_of(slot: int) -> str:
    """Name what a slot's homes hear: reports and questions, told apart by the last word of their subject."""
    return f"{PREFIX}.{slot}.home.*"


def holdings_of(process: str) -> str:
    """Name the subject on which a process is asked for all it holds of a slot."""
    return f"{PREFIX}.of.{process}"


def changes_of(slot: int) -> str:
    """Name the subject on which a slot's first home tells what changed."""
    return f"{PREFIX}.{slot}.changes"


class Seen(NamedTuple):
    """A user's state, and when it was there last (µs since the Unix epoch; 0 where that is not known or it is there)."""

    state: State
    seen_us: int = 0


class Told(NamedTuple):
    """What a home tells of a slot: its process, the number of its last change, and states."""

    process: str
    number: int
    people: dict[Key, Seen]


class Beat(NamedTuple):
    """A sign of life. ``ready``: it holds what it is to hold. ``numbers``: of the last change of each slot that it speaks for."""

    process: str
    ready: bool
    gone: bool
    greets: bool
    numbers: dict[int, int]


class Report(NamedTuple):
    """A device's report."""

    key: Key
    device_id: str
    state: State
    lease: float


def encode_beat(beat: Beat) -> bytes:
    """Write a sign of life."""
    return _dump([beat.process, beat.ready, beat.gone, beat.greets, list(beat.numbers.items())])


def decode_beat(data: bytes) -> Beat:
    """Read a sign of life."""
    process, ready, gone, greets, numbers = json.loads(data)
    return Beat(process, ready, gone, greets, dict(numbers))


def encode_report(report: Report) -> bytes:
    """Write a report."""
    return _dump([*report.key, report.device_id, report.state, report.lease])


def decode_report(data: bytes) -> Report:
    """Read a report."""
    tenant, user_id, device_id, state, lease = json.loads(data)
    return Report((tenant, user_id), device_id, State(state), lease)


def encode_told(told: Told) -> bytes:
    """Write states."""
    people = [[*key, seen.state, seen.seen_us] for key, seen in told.people.items()]
    return _dump([told.process, told.number, people])


def decode_told(data: bytes) -> Told:
    """Read states."""
    process, number, people = json.loads(data)
    found = {(tenant, user_id): Seen(State(state), seen_us) for tenant, user_id, state, seen_us in people}
    return Told(process, number, found)


def encode_keys(keys: Iterable[Key]) -> bytes:
    """Write whom is asked for."""
    return _dump(list(keys))


def decode_keys(data: bytes) -> list[Key]:
    """Read whom is asked for."""
    return [(tenant, user_id) for tenant, user_id in json.loads(data)]


def encode_people(people: Mapping[Key, Person], now: float, after: int) -> bytes:
    """Write what is held of users, and where the next page begins; 0 at the end."""
    rows = [
        [*key, person.seen_us, [[name, d.state, d.until - now, d.seen_us] for name, d in person.devices.items()]]
        for key, person in people.items()
    ]  # fmt: skip
    return _dump([after, rows])


def decode_people(data: bytes, now: float) -> tuple[dict[Key, Person], int]:
    """Read what is held of users, and where the next page begins."""
    after, rows = json.loads(data)
    people = {}
    for tenant, user_id, seen_us, devices in rows:
        held = {name: Device(State(state), now + left, at_us) for name, state, left, at_us in devices}
        people[tenant, user_id] = Person(held, seen_us, credited=now)
    return people, after


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
