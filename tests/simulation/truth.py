"""What must stay true after every step: the invariants of the protocol, and everything anybody was told so far."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from services.ledger import entries as codec
from services.ledger.decider import Delivered, Receipt, Recorded, View
from services.ledger.ids import AggregateId
from tests.simulation.replicas import Copy, merged_part
from tests.tally import decode


class Trace:
    """What happened, in order; lines are made of it only when somebody reads them."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, str, tuple[Any, ...]]] = []

    def add(self, at: float, who: str, *what: Any) -> None:
        """Adds a step."""
        self.steps.append((at, who, what))

    def lines(self) -> list[str]:
        """Readable."""
        return [f"{at:9.4f}  {who:<9} {' '.join(map(str, what))}" for at, who, what in self.steps]

    def hash(self) -> str:
        """The same for the same run."""
        digest = hashlib.blake2b(digest_size=8)
        for line in self.lines():
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()


class Truth:
    """Everything that was told, and whether it still holds.

    Attributes:
        broken: the first invariant that did not hold; None while all do.
        floor: by aggregate, the highest version that anybody was told of: every later load must show it.
        forgiven: aggregates of which log and backups hold nothing any more.
        replaying: aggregates that a lost store held, until loads have brought it as far again.
    """

    def __init__(self, copies: list[Copy], quorum: int) -> None:
        self._copies, self._quorum = copies, quorum
        self.broken: str | None = None
        self.floor: dict[AggregateId, int] = {}
        self.forgiven: set[AggregateId] = set()
        self.replaying: set[AggregateId] = set()
        self.ended = False
        self._events: dict[AggregateId, dict[int, bytes]] = {}
        self._asked: dict[tuple[AggregateId, bytes], int] = {}
        self._answers: dict[tuple[AggregateId, str], tuple[int, int, tuple[bytes, ...]]] = {}
        self._states: dict[tuple[AggregateId, int], Any] = {}
        self._handed: dict[AggregateId, int] = {}

    def breaks(self, why: str) -> None:
        """An invariant does not hold; the first one counts."""
        if self.broken is None:
            self.broken = why

    def told(self, aggregate: AggregateId, version: int, payload: bytes, by: str) -> None:
        """Somebody was told of an event: it stays."""
        events = self._events.setdefault(aggregate, {})
        known = events.get(version)
        if known is None:
            events[version] = payload
        elif known != payload:
            self.breaks(f"{by}: {aggregate.id} v{version} is {decode(payload)}, but it was told as {decode(known)}")

    def rises(self, aggregate: AggregateId, version: int) -> None:
        """Somebody was told of a version."""
        if version > self.floor.get(aggregate, 0):
            self.floor[aggregate] = version
            self.stays(aggregate)

    def answered(self, aggregate: AggregateId, request_id: str, receipt: Receipt, by: str) -> None:
        """A command was acknowledged."""
        if aggregate in self.forgiven:
            return
        answer = (receipt.first_version, receipt.last_version, receipt.payloads)
        first = self._answers.setdefault((aggregate, request_id), answer)
        if receipt.payloads and first != answer:
            self.breaks(f"{by}: request answered with v{answer[0]}, but first with v{first[0]}")
        for version, payload in enumerate(receipt.payloads, receipt.first_version):
            self.told(aggregate, version, payload, by)
        self.rises(aggregate, receipt.last_version)

    def saw(self, aggregate: AggregateId, first: int, payloads: Iterable[bytes], by: str) -> None:
        """A watcher was shown events."""
        if aggregate in self.forgiven:
            return
        last = first - 1
        for version, payload in enumerate(payloads, first):
            self.told(aggregate, version, payload, by)
            last = version
        self.rises(aggregate, last)

    def viewed(self, aggregate: AggregateId, view: View[Any], floor: int, by: str) -> None:
        """A reader was shown a state; `floor`: what was told before it asked."""
        if aggregate in self.forgiven:
            return
        if view.version < floor:
            self.breaks(f"{by}: {aggregate.id} read as v{view.version}, but v{floor} was told before")
        known = self._states.setdefault((aggregate, view.version), view.state)
        if known != view.state:
            self.breaks(f"{by}: {aggregate.id} v{view.version} is {view.state}, but was {known}")
        if view.state.steps != view.version:
            self.breaks(f"{by}: {aggregate.id} v{view.version} is made of {view.state.steps} events")
        self.rises(aggregate, view.version)

    def listed(self, aggregate: AggregateId, events: Sequence[Recorded], floor: int, by: str) -> None:
        """A reader was shown the whole history."""
        if aggregate in self.forgiven:
            return
        if [event.version for event in events] != list(range(1, len(events) + 1)):
            self.breaks(f"{by}: {aggregate.id} has versions {[event.version for event in events]}")
        if len(events) < floor and aggregate not in self.replaying:
            self.breaks(f"{by}: {aggregate.id} lists {len(events)} events, but v{floor} was told before")
        at_once: dict[bytes, list[int]] = {}
        for event in events:
            self.told(aggregate, event.version, event.payload, by)
            at_once.setdefault(event.request_id, []).append(event.version)
        for request_id, versions in at_once.items():
            if len(versions) > 1 and request_id:
                self.breaks(f"{by}: {aggregate.id} applied one request at v{versions}")
            known = self._asked.setdefault((aggregate, request_id), versions[0])
            if known != versions[0]:
                self.breaks(f"{by}: {aggregate.id} a request at v{versions[0]} was listed at v{known}")
        if events:
            self.rises(aggregate, events[-1].version)

    def handed(self, delivered: Delivered, by: str) -> None:
        """A consumer took an entry."""
        aggregate = delivered.aggregate
        if aggregate in self.forgiven:
            return
        first, last = delivered.events[0].version, delivered.events[-1].version
        done = self._handed.get(aggregate, 0)
        if first > done + 1:
            self.breaks(f"{by}: {aggregate.id} v{first} was handed over when v{done} was the last before it")
        for event in delivered.events:
            self.told(aggregate, event.version, event.payload, by)
        self._handed[aggregate] = max(done, last)
        self.rises(aggregate, last)

    def handed_upto(self, aggregate: AggregateId) -> int:
        """The last version a consumer took."""
        return self._handed.get(aggregate, 0)

    def touched(self, key: str) -> None:
        """A copy of the store changed."""
        self.stays(AggregateId.from_key(key))

    def store_lost(self) -> None:
        """Nothing is left in the store."""
        self.replaying.update(self.floor)

    def stays(self, aggregate: AggregateId) -> None:
        """Every quorum of copies holds all that was told."""
        floor = self.floor.get(aggregate, 0)
        if not floor or self.ended or self.broken is not None or aggregate in self.forgiven:
            return
        missing = self._missing(aggregate, floor)
        if missing is None:
            self.replaying.discard(aggregate)
        elif aggregate not in self.replaying:
            self.breaks(missing)

    def _missing(self, aggregate: AggregateId, floor: int) -> str | None:
        """What some quorum of copies lacks."""
        events = self._events.get(aggregate, {})
        parts = [copy.parts.get(aggregate.key) for copy in self._copies]
        if len(parts) > 1 and parts[0] is not None and all(map(parts[0].same, parts[1:])):
            parts = parts[:1]
        for some in combinations(parts, min(self._quorum, len(parts))):
            merged = merged_part(some)
            head = merged.head
            if head is None or head.version < floor:
                return f"the store shows {aggregate.id} at v{head.version if head else 0}, but v{floor} was told"
            held: dict[int, bytes] = {}
            for entry in merged.shown(strict=True):
                held.update((event.version, event.payload) for event in _recorded(entry.data))
            for version in range(1, floor + 1):
                if version not in held:
                    return f"the store has a hole: {aggregate.id} v{version}, though v{floor} was told"
                if version in events and events[version] != held[version]:
                    was, now = decode(events[version]), decode(held[version])
                    return f"the store holds {aggregate.id} v{version} as {now}, but it was told as {was}"
        return None


_parsed: dict[bytes, tuple[Recorded, ...]] = {}


def _recorded(data: bytes) -> tuple[Recorded, ...]:
    known = _parsed.get(data)
    if known is None:
        if len(_parsed) > 4096:
            _parsed.clear()
        known = _parsed[data] = codec.recorded(codec.parse(data))
    return known
