"""Handing an aggregate over between processes that write it at the same time, so that each comes to its turn.

Whoever wrote last has the newest sequence at hand, so against one that must load first it wins every race for the fence, and the other
starves. So writers of one aggregate that hear of each other say when they want to write, and take turns: after an entry the next of those
who want to, in the order of their names, may append at once, the one after it when that one had its time, and so on; who wrote last
comes last. Group commit makes waiting cheap: the next entry carries all that came meanwhile. Nothing depends on it. What is said here
may be lost, late or wrong: the fence decides.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from tradewind.ledger.v1 import entry_pb2

from services.ledger.ids import AggregateId

_SHORTEST, _LONGEST = 0.005, 0.25
_PATIENCE = 3.0
_REMEMBERED = 5.0
_WEIGHT = 0.2
_MOST = 4096


@dataclass(slots=True)
class _Other:
    """Another writer: when it was last heard of, how long it may take over its turn, and whether it waits for one."""

    at: float
    patience: float
    wants: bool


class _Ring:
    """The writers of one aggregate.

    Attributes:
        heard: the others, by name.
        last, at: who wrote last ("": unknown), and when.
        own: how long a turn takes here.
        news: somebody else was heard.
    """

    __slots__ = ("at", "heard", "last", "news", "own")

    def __init__(self) -> None:
        self.heard: dict[str, _Other] = {}
        self.last, self.at, self.own = "", 0.0, 0.0
        self.news = asyncio.Event()

    def took(self, seconds: float) -> None:
        self.own = max(seconds, self.own + _WEIGHT * (seconds - self.own)) if self.own else seconds

    def forget(self, now: float) -> None:
        for writer in [w for w, other in self.heard.items() if now - other.at > _REMEMBERED * other.patience]:
            del self.heard[writer]

    def turn_of(self, me: str) -> float:
        """When `me` may append: those who are before it and want to get their time first."""
        if not self.last:
            return self.at + _patience(self.own)
        members = sorted({me, *(writer for writer, other in self.heard.items() if other.wants)})
        start = bisect_right(members, self.last)
        until = self.at
        for place in range(len(members)):
            member = members[(start + place) % len(members)]
            if member == me:
                break
            other = self.heard[member]
            until = max(until, other.at) + other.patience
        return until


class Alone:
    """The manners of one who writes alone."""

    def contended(self, aggregate: AggregateId) -> bool:
        """See `Handover.contended`."""
        return False

    async def turn(self, aggregate: AggregateId) -> None:
        """See `Handover.turn`."""

    def lost(self, aggregate: AggregateId, times: int, seconds: float) -> None:
        """See `Handover.lost`."""

    def wrote(self, aggregate: AggregateId, version: int, seconds: float) -> None:
        """See `Handover.wrote`."""


class Handover:
    """The manners of one process.

    Args:
        writer: its name.
        outdated: called with (aggregate, version) when another process is heard to have written one.
    """

    def __init__(
        self, nats: Client, service: str, epoch: int, writer: str, outdated: Callable[[AggregateId, int], None]
    ) -> None:
        self._nats = nats
        self._subject = f"turns.{epoch}.{service}"
        self._writer = writer
        self._outdated = outdated
        self._rings: dict[AggregateId, _Ring] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Hears the other processes."""
        await self._nats.subscribe(self._subject, cb=self._said)

    def contended(self, aggregate: AggregateId) -> bool:
        """True: another process was lately heard to write it."""
        return aggregate in self._rings

    async def turn(self, aggregate: AggregateId) -> None:
        """Waits for this process's turn, half a second at most."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + 2 * _LONGEST
        told = False
        while (ring := self._rings.get(aggregate)) is not None:
            now = loop.time()
            ring.forget(now)
            if ring.last and not ring.heard:
                del self._rings[aggregate]
                return
            if not told:
                told = True
                self._say(aggregate, ring, 0)
            until = min(ring.turn_of(self._writer), latest)
            if now >= until:
                ring.last = ring.last or self._writer  # nobody was heard: so be it
                return
            ring.news.clear()
            try:
                async with asyncio.timeout_at(until):
                    await ring.news.wait()
            except TimeoutError:
                continue

    def lost(self, aggregate: AggregateId, times: int, seconds: float) -> None:
        """Another process was first, so many times in a row; it is told that somebody waits here, who took so long in vain."""
        ring = self._ring(aggregate)
        ring.took(seconds)
        if times > 1:  # who it was will be heard soon, if it hears of this
            ring.last, ring.at = "", asyncio.get_running_loop().time()
        self._say(aggregate, ring, 0)

    def wrote(self, aggregate: AggregateId, version: int, seconds: float) -> None:
        """An entry of this process is stored, which took so long; the others are told, where there are any."""
        ring = self._rings.get(aggregate)
        if ring is not None:
            ring.took(seconds)
            ring.last, ring.at = self._writer, asyncio.get_running_loop().time()
            self._say(aggregate, ring, version)

    async def close(self) -> None:
        """Lets what is being said be said."""
        await asyncio.gather(*self._tasks)

    def _ring(self, aggregate: AggregateId) -> _Ring:
        ring = self._rings.get(aggregate)
        if ring is None:
            if len(self._rings) >= _MOST:
                for oldest in list(islice(self._rings, _MOST // 4)):
                    self._rings.pop(oldest).news.set()
            ring = self._rings[aggregate] = _Ring()
        return ring

    def _say(self, aggregate: AggregateId, ring: _Ring, version: int) -> None:
        turn = entry_pb2.Turn(
            writer=self._writer, kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id, version=version,
            takes_us=int(ring.own * 1e6),
        )  # fmt: skip
        task = asyncio.get_running_loop().create_task(self._publish(turn.SerializeToString()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, turn: bytes) -> None:
        try:
            await self._nats.publish(self._subject, turn)
        except NatsError:
            return  # only speed was lost

    async def _said(self, message: Msg) -> None:
        turn = entry_pb2.Turn.FromString(message.data)
        if turn.writer == self._writer:
            return
        aggregate = AggregateId(turn.tenant, turn.kind, turn.id)
        now = asyncio.get_running_loop().time()
        ring = self._ring(aggregate)
        ring.heard[turn.writer] = _Other(now, _patience(turn.takes_us / 1e6), wants=not turn.version)
        if turn.version:
            self._outdated(aggregate, turn.version)
            ring.last, ring.at = turn.writer, now
        ring.news.set()


def _patience(seconds: float) -> float:
    """How long to wait for one whose turn takes so long."""
    return min(max(_PATIENCE * seconds, _SHORTEST), _LONGEST)
