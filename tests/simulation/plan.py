"""What will happen in a world: drawn from a seed, and plain enough that a part of it can be left out."""

from __future__ import annotations

from dataclasses import dataclass, field

ONE_SERVER = frozenset({"crash", "crash_at", "pause", "pause_at", "clock", "cut_log", "cut_store"})
"""Faults that meet one server."""
POINTS = ("decided", "appended", "stored")
D = 2.0
"""`D` of the protocol in these worlds, in seconds."""


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
        if self.kind in ONE_SERVER:
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
