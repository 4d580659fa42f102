"""What will happen in a world: drawn from a seed, and plain enough that a part of it can be left out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

POINTS = ("decided", "appended", "stored")
D = 2.0
"""`D` of the protocol in these worlds, in seconds."""

_LOG = ("log_slow", "log_lossy", "log_down", "cut_log", "log_wipe")
_STORE = ("store_slow", "store_lossy", "store_refusing", "copy_down", "cut_store", "store_down")
_PROCESS = ("crash", "crash_at", "pause", "pause_at", "clock")
RARE = ("store_wipe",)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong: what, when (seconds), with whom, for how long, and at which step of a write."""

    kind: str
    at: float
    server: int = 0
    length: float = 0.0
    point: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        words = [f"{self.at:7.3f} {self.kind}"]
        if self.kind in (*_PROCESS, "cut_log", "cut_store"):
            words.append(f"server={self.server}")
        words.append(f"length={self.length:.3f}")
        if self.point:
            words.append(f"point={self.point}")
        return " ".join(words)


@dataclass(frozen=True)
class Ask:
    """A request: its number names it, and the times (with the server asked) at which it is sent, and sent again."""

    number: int
    tally: int
    sent: tuple[tuple[float, int], ...]
    made_at: float

    def __str__(self) -> str:
        times = " ".join(f"{at:.3f}@{server}" for at, server in self.sent)
        return f"request {self.number} to tally {self.tally}: {times}"


@dataclass(frozen=True)
class Look:
    """A reader's question, and of which server."""

    at: float
    tally: int
    server: int
    history: bool


@dataclass(frozen=True)
class Plan:
    """One world and all that happens in it.

    Attributes:
        max_age: seconds an entry stays in the log; None: for ever.
        behind: seconds by which a copy of the log may be behind.
        memory: how many request ids an aggregate remembers.
        alone: one server that owns log and store, as standalone does.
    """

    seed: int
    servers: int
    copies: int
    tallies: int
    max_age: float | None
    behind: float
    memory: int
    snapshot_every: int
    consumer: bool
    watchers: int
    asks: tuple[Ask, ...]
    looks: tuple[Look, ...]
    faults: tuple[Fault, ...] = field(default=())

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: {self.servers} servers, {self.copies} copies of the store, {self.tallies} tallies,"
            f" max_age {self.max_age}, log behind by {self.behind:.2f} s, remembers {self.memory} ids,"
            f" snapshot every {self.snapshot_every}, {'a consumer' if self.consumer else 'no consumer'}"
        )
        return "\n  ".join([head, *map(str, self.asks), *map(str, self.faults)])


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"plan {seed}")
    servers = chance.choice((2, 2, 3))
    tallies = chance.choice((1, 1, 2))
    length = chance.choice((4.0, 8.0, 14.0))
    faults = _faults(chance, servers, length)
    kinds = {fault.kind for fault in faults}
    ages = (None, 6.0) if "store_wipe" not in kinds else (None,)
    return Plan(
        seed=seed,
        servers=servers,
        copies=chance.choice((1, 3, 3, 3)),
        tallies=tallies,
        max_age=chance.choice(ages),
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
    pool = [*_PROCESS, *_PROCESS, *_LOG, "log_wipe", *_STORE, *RARE]
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
        if fault.kind in ("log_wipe", "store_wipe"):  # two disasters at once are not promised
            if once:
                continue
            once.add(fault.kind)
        kept.append(fault)
    return tuple(kept)
