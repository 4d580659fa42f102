"""What a user's presence is, over all its devices, and how often it is told. Pure; times are seconds of one monotonic clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MOST_DEVICES: Final = 16
DEFAULT_LEASE: Final = 60
ALL_DEVICES: Final = ""
"""Names, in a report that signs off, every device that the user has."""
TELL_BURST: Final = 4.0
"""So many changes of a user are told at once before it is taken to be flapping."""
TELL_EVERY: Final = 5.0
"""Seconds between two changes of one who flaps."""


class State(StrEnum):
    """Whether somebody is there; UNKNOWN is what a watcher holds who cannot learn it."""

    ONLINE = "on"
    AWAY = "away"
    OFFLINE = "off"
    UNKNOWN = "?"


@dataclass(slots=True)
class Device:
    """One device: its last report, and until when that is good. ``seen_us``: when it arrived, µs since the Unix epoch."""

    state: State
    until: float
    seen_us: int


@dataclass(slots=True)
class Person:
    """Everything that is remembered of a user.

    ``seen_us``: when it was there last; 0 while never. ``told``: what its watchers were told last. ``credit``: how many changes may
    be told at once, as of ``credited``. ``due``: when a device's lease is looked at next.
    """

    devices: dict[str, Device] = field(default_factory=dict)
    seen_us: int = 0
    told: State = State.OFFLINE
    credit: float = TELL_BURST
    credited: float = 0.0
    due: float = math.inf


def state_of(person: Person) -> State:
    """Give the state over all devices: online if any is, else away if any is."""
    if not person.devices:
        return State.OFFLINE
    return State.ONLINE if any(device.state is State.ONLINE for device in person.devices.values()) else State.AWAY


def report(person: Person, device_id: str, state: State, lease: float, now: float, now_us: int) -> None:
    """Take a device's report; OFFLINE signs it off. Beyond MOST_DEVICES the one whose lease ends first makes room."""
    person.seen_us = max(person.seen_us, now_us)
    if state is State.OFFLINE and device_id == ALL_DEVICES:
        person.devices.clear()
        return
    if state is State.OFFLINE:
        person.devices.pop(device_id, None)
        return
    if device_id not in person.devices and len(person.devices) >= MOST_DEVICES:
        del person.devices[min(person.devices, key=lambda each: person.devices[each].until)]
    person.devices[device_id] = Device(state, now + lease, now_us)


def lapse(person: Person, now: float) -> None:
    """Forget the devices whose lease has ended; the user was there last when the last of them reported."""
    for device_id in [each for each, device in person.devices.items() if device.until <= now]:
        del person.devices[device_id]


def due(person: Person) -> float:
    """Give when the next lease ends; infinite where there is none."""
    return min((device.until for device in person.devices.values()), default=math.inf)


def merge(person: Person, other: Person) -> None:
    """Take over what another process holds of the user: of each device the later report, so that the order does not matter."""
    person.seen_us = max(person.seen_us, other.seen_us)
    for device_id, device in other.devices.items():
        known = person.devices.get(device_id)
        if known is None or known.seen_us < device.seen_us:
            person.devices[device_id] = device


def may_tell(person: Person, now: float) -> bool:
    """Tell whether a change may be told now, and take it off the user's credit: a few at once, then one in TELL_EVERY seconds."""
    person.credit = min(TELL_BURST, person.credit + (now - person.credited) / TELL_EVERY)
    person.credited = now
    if person.credit < 1.0:
        return False
    person.credit -= 1.0
    return True
