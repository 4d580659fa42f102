"""What a service tells the ledger about a kind of aggregate, and what it gets back.

A decider is three pure functions: `initial() -> state`, `decide(state, command) -> events` (raises a domain error),
`evolve(state, event) -> state`. Time and ids are arguments of commands. `evolve` never changes the state it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from services.ledger.archive import Row
from services.ledger.ids import AggregateId

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")


def no_rows(_aggregate: AggregateId, _state: Any, _events: Sequence[tuple[int, Any]]) -> Iterable[Row]:
    """The read model of a kind that has none."""
    return ()


def no_timers(_state: Any) -> Mapping[str, int]:
    """The timers of a kind that has none."""
    return {}


@dataclass(frozen=True)
class Kind(Generic[S, C, E]):
    """One kind of aggregate.

    Attributes:
        name: its token in subjects, such as "conversation".
        initial, decide, evolve: the decider.
        encode: (event, version) to the public event message's bytes: what log, store and watchers hold.
        decode: the inverse, for events out of the log.
        state_type: dataclass of the state; snapshots are its JSON (by pydantic).
        rows: read-model rows to upsert together with the events: (aggregate, state after them, [(version, event)]).
            A pure function; the rows' `seq` is set by the ledger.
        timers: name to due time (µs since the epoch) of what the state waits for; armed by `Ledger.arm`.
        taken: tables of `rows` out of which whoever has dealt with a row takes it, such as a list of what is to be looked at.
    """

    name: str
    initial: Callable[[], S]
    decide: Callable[[S, C], Sequence[E]]
    evolve: Callable[[S, E], S]
    encode: Callable[[E, int], bytes]
    decode: Callable[[bytes], E]
    state_type: type[S]
    rows: Callable[[AggregateId, S, Sequence[tuple[int, E]]], Iterable[Row]] = no_rows
    timers: Callable[[S], Mapping[str, int]] = no_timers
    taken: frozenset[str] = frozenset()


class Request(NamedTuple):
    """Names a command.

    Attributes:
        id: UUIDv7 text made once per intent.
        fingerprint: digest of the content (`ids.fingerprint`).
        traceparent: W3C, where the call is sampled.
    """

    id: str
    fingerprint: bytes
    traceparent: str | None = None


class Receipt(NamedTuple):
    """What a command wrote: versions first to last (last < first where it wrote nothing) and the public event bytes."""

    first_version: int
    last_version: int
    payloads: tuple[bytes, ...]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class View(Generic[S]):
    """An aggregate's state at a version; version 0 and the initial state where nothing was ever written."""

    state: S
    version: int


class Recorded(NamedTuple):
    """One event out of log or store, with the command that wrote it."""

    version: int
    payload: bytes
    request_id: bytes = b""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a consumer is handed: the events of one stored entry.

    Attributes:
        aggregate: whose.
        seq: log sequence of the entry: rises along an aggregate, over all lives of the log.
        events: in order of version.
        tries: how often it was handed over before, as far as known.
        traceparent: of the consumer's span, or of the writing command; None where unsampled.
    """

    aggregate: AggregateId
    seq: int
    events: tuple[Recorded, ...]
    tries: int = 0
    traceparent: str | None = field(default=None)
