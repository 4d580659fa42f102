"""Draws the plan of a seed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.simulation.plan import POINTS, Ask, Fault, Look, Plan
from tests.simulation.stories import STORIES, Story

_LOG = ("log_slow", "log_lossy", "log_down", "cut_log", "log_wipe")
_STORE = ("store_slow", "store_lossy", "store_refusing", "copy_down", "cut_store", "store_down")
_PROCESS = ("crash", "crash_at", "pause", "pause_at", "clock")
_RARE = ("store_wipe",)


def draw(seed: int) -> Plan:
    """The plan of a seed: two of three times anything may happen, else a story."""
    chance = random.Random(f"plan {seed}")
    plan = _any(seed, chance)
    if seed % 3:
        return plan
    parts: dict[str, Any] = chance.choice(STORIES)(chance)
    return replace(plan, **parts)


def tell(story: Story, seed: int) -> Plan:
    """A story's plan of a seed."""
    chance = random.Random(f"{story.__name__} {seed}")
    plan = replace(_any(seed, chance), looks=(), faults=())
    parts: dict[str, Any] = story(chance)
    return replace(plan, **parts)


def _any(seed: int, chance: random.Random) -> Plan:
    servers = chance.choice((2, 2, 3))
    tallies = chance.choice((1, 1, 2))
    length = chance.choice((4.0, 8.0, 14.0))
    faults = _faults(chance, servers, length)
    return Plan(
        seed=seed,
        servers=servers,
        copies=chance.choice((1, 3, 3, 3)),
        tallies=tallies,
        max_age=chance.choice((None, 6.0)),
        behind=chance.choice((0.0, 0.3)),
        memory=chance.choice((2, 2, 16_384)),
        snapshot_every=chance.choice((2, 3, 1000)),
        consumer=chance.random() < 0.4,
        watchers=chance.choice((0, 1, 2)),
        asks=_asks(chance, servers, tallies, length),
        looks=tuple(
            Look(
                chance.uniform(0.5, length), chance.randrange(tallies), chance.randrange(servers), chance.random() < 0.4
            )
            for _ in range(chance.randrange(6))
        ),
        faults=faults,
    )


def _asks(chance: random.Random, servers: int, tallies: int, length: float) -> tuple[Ask, ...]:
    asks = []
    hot = chance.uniform(0.5, length)
    for number in range(chance.randint(3, 12)):
        at = hot + 0.01 * chance.random() if chance.random() < 0.3 else chance.uniform(0.3, length)
        sent = [(at, chance.randrange(servers))]
        while chance.random() < 0.35:
            at += chance.choice((0.001, 0.1, 1.0, 6.0)) * chance.random()
            sent.append((at, chance.randrange(servers)))
        asks.append(Ask(number, chance.randrange(tallies), tuple(sent), sent[0][0]))
    return tuple(asks)


def _faults(chance: random.Random, servers: int, length: float) -> tuple[Fault, ...]:
    """A few kinds of fault each time, so that each comes with each, and each alone."""
    pool = [*_PROCESS, *_PROCESS, *_LOG, "log_wipe", *_STORE, *_RARE]
    kinds = [chance.choice(pool) for _ in range(chance.choice((1, 2, 2, 3, 4)))]
    faults = []
    for _ in range(chance.choice((0, 1, 2, 3, 4, 6))):
        kind = chance.choice(kinds)
        faults.append(
            Fault(
                kind,
                chance.uniform(0.3, length),
                chance.randrange(servers),
                chance.choice((0.2, 1.0, 4.0, 8.0)) * chance.uniform(0.5, 1.0),
                chance.choice(POINTS) if kind.endswith("_at") else "",
                chance.random(),
            )
        )
    once: set[str] = set()
    kept = []
    for fault in sorted(faults, key=lambda one: one.at):
        if fault.kind in (
            "log_wipe",
            "store_wipe",
        ):  # log and store lost at once are not promised, the log lost again is
            if once and not once == {fault.kind} == {"log_wipe"}:
                continue
            once.add(fault.kind)
        kept.append(fault)
    return tuple(kept)
