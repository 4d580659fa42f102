"""Worlds in which one known trap of the protocol is near: few things happen, close to each other, and chance decides the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.simulation.plan import Ask, Fault, Look

Parts = dict[str, Any]
Story = Callable[[random.Random], Parts]


def sleeper(chance: random.Random) -> Parts:
    """A writer sleeps between two steps while the log is lost and recovered, and another server goes on."""
    at = chance.uniform(0.5, 2.0)
    point = chance.choice(("decided", "appended", "appended", "stored"))
    lost = at + chance.uniform(0.02, 1.0)
    again = lost + chance.uniform(4.0, 12.0)
    return {
        "servers": 2, "tallies": 1, "max_age": None, "consumer": False,
        "asks": _asks(
            (at - 0.3, 0), (at + 0.01, 0, again), (lost + chance.uniform(4.5, 9.0), 1), (again + 1.0, chance.randrange(2)),
        ),
        "looks": _looks(chance, lost + 4.0, lost + 14.0, 6, 2),
        "faults": (
            Fault("pause_at", at, 0, chance.uniform(1.5, 5.5), point),
            Fault("log_wipe", lost, 0, chance.uniform(0.2, 1.0), "", 0.2 * chance.random()),
            *_sometimes(chance, Fault("store_slow", at - 0.2, 0, chance.uniform(1.0, 10.0), "", chance.random())),
        ),
    }  # fmt: skip


def late_row(chance: random.Random) -> Parts:
    """What a writer of the lost life stores late is seen by one server, when another has loaded already."""
    at = chance.uniform(0.5, 2.0)
    woken = at + chance.uniform(5.5, 7.0)
    shown = Look(woken + chance.uniform(0.7, 1.5), 0, 0, False)
    again = (woken + chance.uniform(0.7, 1.5),) if chance.random() < 0.5 else ()
    return {
        "servers": 2, "tallies": 1, "max_age": None, "consumer": False, "watchers": 0,
        "asks": _asks((at - 0.3, 0), (at + 0.02, 0, *again), (woken + chance.uniform(1.6, 3.0), 1)),
        "looks": (Look(woken - chance.uniform(0.1, 0.9), 0, 1, False), shown, Look(shown.at + 0.1, 0, 0, True)),
        "faults": (
            Fault("pause_at", at, 0, (woken - at) / 2, "appended"),
            Fault("log_wipe", at + 0.1, 0, 0.1, "", 0.02),
        ),
    }  # fmt: skip


def late_hand(chance: random.Random) -> Parts:
    """What a writer of the lost life stores late, when the consumer has caught up, becomes true with the next entry."""
    at = chance.uniform(0.5, 2.0)
    woken = at + chance.uniform(6.0, 9.0)
    opened = woken + chance.uniform(-0.05, 1.5)
    return {
        "servers": chance.choice((2, 3)), "tallies": 1, "max_age": None, "consumer": True, "watchers": 0,
        "asks": _asks((at - 0.3, 0), (at + 0.02, 0), (opened, 1)),
        "looks": (Look(opened + chance.uniform(0.1, 2.0), 0, 1, True),),
        "faults": (
            Fault("pause_at", at, 0, (woken - at) / 2, "appended"),
            Fault("log_wipe", at + 0.1, 0, 0.1, "", 0.02),
            *_sometimes(chance, Fault("crash", opened + chance.uniform(-0.5, 1.0), 1, 0.5)),
        ),
    }  # fmt: skip


def between(chance: random.Random) -> Parts:
    """What a writer of the lost life stores late comes into the store when one server has loaded, and before another does."""
    at = chance.uniform(0.5, 2.0)
    woken = at + chance.uniform(6.0, 9.0)
    near = [woken + chance.uniform(0.015, 0.045) for _ in range(6)]
    first = (Ask(0, 0, ((at - 0.3, 0),), at - 0.3),) if chance.random() < 0.5 else ()
    again = ((near[0], chance.choice((1, 2))),) if chance.random() < 0.5 else ()
    return {
        "servers": 3, "tallies": 1, "max_age": None, "consumer": chance.random() < 0.3, "watchers": 0,
        "asks": (
            *first, Ask(1, 0, ((at + 0.02, 0), *again), at + 0.02), Ask(2, 0, ((near[1], chance.choice((1, 2))),), near[1]),
            Ask(3, 0, ((woken + 1.0, 1),), woken + 1.0),
        ),
        "looks": tuple(Look(near[2 + number], 0, 1 + number % 2, chance.random() < 0.5) for number in range(4)),
        "faults": (Fault("pause_at", at, 0, (woken - at) / 2, "appended"), Fault("log_wipe", at + 0.1, 0, 0.1, "", 0.02)),
    }  # fmt: skip


def lost_again(chance: random.Random) -> Parts:
    """The log is lost, and again while that is recovered or soon after; one writer sleeps through some of it, and a consumer lags."""
    at = chance.uniform(0.5, 2.0)
    again = at + chance.uniform(0.2, 14.0)
    woken = chance.choice((at, again)) + chance.uniform(5.0, 9.0)
    tallies = chance.choice((1, 2))
    return {
        "servers": chance.choice((2, 3)), "tallies": tallies, "max_age": None, "consumer": chance.random() < 0.7, "watchers": 0,
        "asks": _asks(
            (at - 0.3, 0), (at - 0.02, 0), (at + chance.uniform(4.5, 7.0), 1), (again - 0.02, chance.randrange(2)),
            (woken + chance.uniform(0.0, 0.1), 1), (again + chance.uniform(4.5, 8.0), 1), (woken + 6.0, 1), tallies=tallies,
        ),
        "looks": _looks(chance, at, again + 10.0, 4, 2, tallies=tallies),
        "faults": (
            Fault("pause_at", at - 0.05, 0, (woken - at) / 2, chance.choice(("decided", "appended", "appended"))),
            Fault("log_wipe", at, 0, 0.1, "", 0.1 * chance.random()),
            Fault("log_wipe", again, 0, 0.1, "", 0.1 * chance.random()),
            *_sometimes(chance, Fault("crash", again + chance.uniform(-3.0, 7.0), 1, 0.5)),
        ),
    }  # fmt: skip


def late_name(chance: random.Random) -> Parts:
    """A writer sleeps before its first append to an aggregate, another one writes it, and the log begins a new life meanwhile."""
    at = chance.uniform(0.5, 2.0)
    woken = at + chance.uniform(5.3, 7.5)
    return {
        "servers": 2, "tallies": 1, "max_age": None, "consumer": False, "watchers": 0,
        "asks": _asks((at + 0.02, 0), (at + 0.2, 1), (woken + chance.uniform(0.5, 3.0), 1)),
        "looks": _looks(chance, woken + 0.1, woken + 3.0, 3, 2),
        "faults": (
            Fault("pause_at", at, 0, (woken - at) / 2, "decided"),
            Fault("log_wipe", at + 0.4, 0, 0.1, "", 0.02),
        ),
    }  # fmt: skip


def dead_draft(chance: random.Random) -> Parts:
    """A writer dies when it has decided, another one writes that version, and the first reads when it is back."""
    at = chance.uniform(1.0, 2.0)
    return {
        "servers": 2, "tallies": 1, "max_age": None, "consumer": False,
        "asks": _asks((at - 0.5, 0), (at, 0), (at + 0.2, 1), (at + 3.0, 0)),
        "looks": _looks(chance, at + 0.5, at + 2.5, 6, 2),
        "faults": (Fault("crash_at", at - 0.1, 0, chance.uniform(0.1, 0.5), chance.choice(("decided", "appended"))),),
    }  # fmt: skip


def quick_operator(chance: random.Random) -> Parts:
    """The log is lost right after an append whose way into the store is slow, and operator and other server lose no moment."""
    at = chance.uniform(0.5, 2.0)
    lost = at + chance.uniform(0.01, 0.1)
    return {
        "servers": 2, "copies": 1, "tallies": 1, "max_age": None, "consumer": False,
        "asks": _asks((at, 0), *((lost + chance.uniform(0.3, 1.8), 1) for _ in range(3))),
        "looks": _looks(chance, lost + 0.3, lost + 6.0, 3, 2),
        "faults": (
            Fault("store_slow", at - 0.01, 0, chance.uniform(0.02, 0.5), "", chance.uniform(-0.4, 0.5)),
            Fault("log_wipe", lost, 0, 0.1 * chance.random(), "", 0.02 * chance.random()),
            Fault("crash", lost + chance.uniform(0.01, 0.2), 1, chance.uniform(0.1, 0.5)),
        ),
    }  # fmt: skip


def old_zero(chance: random.Random) -> Parts:
    """A writer that saw an empty subject sleeps, or is cut off, until another one's entries have aged out of it."""
    at = chance.uniform(0.5, 1.5)
    cut = chance.random() < 0.6
    length = chance.uniform(6.5, 8.5)
    trouble = (
        Fault("cut_log", at, 0, length, "", 0.2) if cut else Fault("pause_at", at, 0, length / 2, "decided")
    )  # fmt: skip
    return {
        "servers": chance.choice((2, 2, 3)), "tallies": 1, "max_age": 6.0, "consumer": chance.random() < 0.2,
        "asks": _asks(
            (at + chance.uniform(0.01, 0.8), 0), (at + chance.uniform(0.05, 0.9), 1),
            *((at + length + chance.uniform(0.2, 4.0), chance.randrange(2)) for _ in range(3)),
        ),
        "looks": _looks(chance, at + 1.0, at + length + 4.0, 4, 2),
        "faults": (trouble, *_sometimes(chance, Fault("crash", at + length + 1.0, 1, 0.5))),
    }  # fmt: skip


def minority(chance: random.Random) -> Parts:
    """A writer dies while its entry has reached some copies of the store, and readers look."""
    at = chance.uniform(0.5, 2.0)
    return {
        "servers": 2, "copies": 3, "tallies": 1, "watchers": chance.choice((0, 1)), "consumer": False,
        "asks": _asks(*((at + 0.4 * n * chance.random(), chance.randrange(2)) for n in range(6))),
        "looks": _looks(chance, at, at + 3.0, 12, 2),
        "faults": (
            Fault(chance.choice(("store_lossy", "store_slow")), at - 0.1, 0, 2.0, "", 0.5 + 0.5 * chance.random()),
            Fault("crash", at + chance.uniform(0.02, 1.5), chance.randrange(2), 1.0),
            *_sometimes(chance, Fault("log_wipe", at + chance.uniform(0.1, 2.0), 0, 0.3, "", 0.1)),
        ),
    }  # fmt: skip


def forgotten(chance: random.Random) -> Parts:
    """An entry is on its way into the store for longer than the log keeps it, and the other server sleeps until then."""
    at = chance.uniform(0.7, 1.5)
    awake = at + chance.uniform(3.9, 4.4)
    return {
        "servers": 2, "tallies": 1, "max_age": 4.0, "consumer": False, "watchers": 0, "snapshot_every": 1000,
        "asks": _asks((at - 0.5, 0), (at, 0), *((awake - chance.uniform(0.0, 0.2), 1) for _ in range(2))),
        "looks": _looks(chance, at + 3.0, at + 8.0, 4, 2),
        "faults": (
            Fault("store_stuck", at, 0, 0.1, "", chance.uniform(0.42, 0.49)),
            Fault("pause", at - 0.1, 1, awake - at + 0.1),
        ),
    }  # fmt: skip


def lost_store(chance: random.Random) -> Parts:
    """The store is lost when the log holds only the end of it, and a backup all of it."""
    at = chance.uniform(6.5, 9.0)
    return {
        "servers": 2, "tallies": 2, "max_age": chance.choice((4.0, 6.0)), "consumer": chance.random() < 0.3,
        "asks": _asks(
            (0.5, 0), (0.7, 1), (1.5, 1), *((at + chance.uniform(-1.0, 6.0), chance.randrange(2)) for _ in range(4)),
            tallies=2,
        ),
        "looks": _looks(chance, at - 0.5, at + 9.0, 10, 2, tallies=2),
        "faults": (
            Fault("store_wipe", at, 0, chance.uniform(0.2, 4.0)),
            *_sometimes(chance, Fault("crash", at + 3.0 * chance.random(), chance.randrange(2), 0.5)),
            *_sometimes(chance, Fault("pause_at", at - 1.0, chance.randrange(2), chance.uniform(0.5, 5.0), "appended")),
        ),
    }  # fmt: skip


STORIES: tuple[Story, ...] = (
    sleeper, late_row, late_name, dead_draft, quick_operator, old_zero, minority, forgotten, lost_store, late_hand, between, lost_again,
)  # fmt: skip


def _asks(*sent: tuple[float, ...], tallies: int = 1) -> tuple[Ask, ...]:
    """Requests: (when, which server, and when again, of the other server too)."""
    asks = []
    for number, (at, server, *again) in enumerate(sorted(sent)):
        times = [(at, int(server))]
        for later in again:
            times += [(later, int(server)), (later + 0.5, int(server) + 1)]
        asks.append(Ask(number, number % tallies, tuple(times), at))
    return tuple(asks)


def _looks(
    chance: random.Random, start: float, end: float, count: int, servers: int, tallies: int = 1
) -> tuple[Look, ...]:
    return tuple(
        Look(chance.uniform(start, end), chance.randrange(tallies), chance.randrange(servers), chance.random() < 0.5)
        for _ in range(count)
    )


def _sometimes(chance: random.Random, fault: Fault) -> tuple[Fault, ...]:
    return (fault,) if chance.random() < 0.5 else ()
