"""The simulated store's servers: several copies with quorums as CQL servers keep them, or one copy as a SQLite file.

A write reaches each copy at a time of its own, or never, also after its writer gave up or died. A read asks a quorum, each copy at a time
of its own, and repairs what it read before it answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from services.ledger.archive import Row
from services.ledger.errors import StoreUnavailable
from tests.simulation.loop import Process
from tests.simulation.replicas import Copy
from tests.simulation.weather import Network

T = TypeVar("T")


class Cluster:
    """The store's servers.

    Args:
        network: between the processes and them.
        copies: one, or three.
        timeout: seconds after which a call has failed.

    Attributes:
        down: numbers of the copies that answer nobody just now.
        refusing: share of calls that fail at once; half of them did what they were asked.
        touched: told which aggregate changed on some copy.
    """

    def __init__(self, network: Network, copies: int, timeout: float = 5.0) -> None:
        self.network, self.timeout = network, timeout
        self.copies = [Copy() for _ in range(copies)]
        self.quorum = copies // 2 + 1
        self.down: set[int] = set()
        self.refusing = 0.0
        self.touched: Callable[[str], None] | None = None

    def replace(self, copies: Sequence[Copy]) -> None:
        """Other contents: empty ones after a wipe, a backup's after a restore."""
        for place, copy in enumerate(copies):
            self.copies[place] = copy

    def take_in(self, backup: Sequence[Copy]) -> None:
        """Writes a backup's contents into every copy, beside what may have come there meanwhile."""
        for place, kept in enumerate(backup):
            copy = self.copies[place]
            for key, part in kept.parts.items():
                copy.part(key).merge(part)
            for (table, partition), rows in kept.rows.items():
                copy.put_rows([Row(table, partition, key, cell[1], cell[0]) for key, cell in rows.items()])
            for name, cell in kept.cells.items():
                if name[0] == "position":
                    copy.put(name, cell)

    async def write(self, process: Process, change: Callable[[Copy], None], key: str | None = None) -> None:
        """Changes every copy; ends when a quorum has it.

        Raises:
            StoreUnavailable: no quorum answered in time; it may still happen.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.network.out(process, self._spread, process, change, key, future)
        await self._await(process, future)

    async def read(
        self, process: Process, look: Callable[[Copy], T], answer: Callable[[Sequence[T]], Any],
        repair: Callable[[Any], Callable[[Copy], None]] | None = None, key: str | None = None,
    ) -> Any:  # fmt: skip
        """Asks a quorum: `look` at each copy, one `answer` of them all; `repair`: what the copies that were read must have first.

        Raises:
            StoreUnavailable: no quorum answered in time.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.network.out(process, self._ask, process, look, answer, repair, key, future)
        return await self._await(process, future)

    async def _await(self, process: Process, future: asyncio.Future[T]) -> T:
        if not process.alive:
            raise asyncio.CancelledError
        try:
            async with asyncio.timeout(self.timeout):
                return await future
        except TimeoutError as error:
            raise StoreUnavailable("the store did not answer in time") from error

    def _refuses(self, process: Process, future: asyncio.Future[Any]) -> bool:
        if not self.refusing or self.network.chance.random() >= self.refusing:
            return False
        self.network.back(process, _fail, future)
        return True

    def _spread(
        self, process: Process, change: Callable[[Copy], None], key: str | None, future: asyncio.Future[None]
    ) -> None:
        chance = self.network.chance
        refused = self._refuses(process, future)
        if refused and chance.random() < 0.5:
            return
        acknowledged = 0

        def apply(place: int) -> None:
            nonlocal acknowledged
            if place in self.down:
                if chance.random() < 0.5:  # kept for it, and handed over later
                    self.network.later(1.0 + 4.0 * chance.random(), apply, place)
                return
            change(self.copies[place])
            acknowledged += 1
            if key is not None and self.touched is not None:
                self.touched(key)
            if acknowledged == self.quorum and not refused:
                self.network.back(process, _settle, future, None)

        lost = self.network.weather.lost_out if len(self.copies) > 1 else 0.0
        for place in range(len(self.copies)):
            if not (lost and chance.random() < lost):
                self.network.later(self.network.delay(), apply, place)

    def _ask(
        self, process: Process, look: Callable[[Copy], T], answer: Callable[[Sequence[T]], Any],
        repair: Callable[[Any], Callable[[Copy], None]] | None, key: str | None, future: asyncio.Future[Any],
    ) -> None:  # fmt: skip
        if self._refuses(process, future):
            return
        chance = self.network.chance
        up = [place for place in range(len(self.copies)) if place not in self.down]
        if len(up) < self.quorum:
            return
        asked = chance.sample(up, self.quorum)
        seen: list[T] = []
        whose = [self.copies[place] for place in asked]

        def finish() -> None:
            if [self.copies[place] for place in asked] != whose:
                return  # the server that asked the others for it, and would repair them, was lost with what it held
            found = answer(seen)
            change = repair(found) if repair is not None and len(asked) > 1 else None
            if change is None:
                self.network.back(process, _settle, future, found)
                return
            for place in asked:  # blocking read repair, of those that were read
                change(self.copies[place])
            if key is not None and self.touched is not None:
                self.touched(key)
            self.network.back(process, _settle, future, found)

        def take(place: int) -> None:
            if place in self.down:
                return
            seen.append(look(self.copies[place]))
            if len(seen) == len(asked):
                finish()

        together = chance.random() < 0.5
        for place in asked:
            if together:
                take(place)
            else:
                self.network.later(self.network.delay(), take, place)


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(StoreUnavailable("the store refused"))
