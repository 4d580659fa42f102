"""Keeping an index true: Chat's own log is read in order, partition by partition, from the places that the index itself keeps.

The index and its places change in one transaction, so a process that dies anywhere loses nothing and repeats nothing that shows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, Protocol

import structlog

from services.chat.commands import KIND
from services.chat.contents import Contents
from services.chat.privacy.keys import GONE_S
from services.chat.privacy.kinds import PERSON
from services.chat.search.index import Change, Index, Position, Replaced
from services.chat.search.lag import Lag
from services.chat.search.telling import changes
from services.ledger.decider import Delivered
from services.ledger.ending import end
from services.ledger.errors import LedgerError
from services.ledger.ids import AggregateId
from services.ledger.lasting import patiently
from services.ledger.ledger import Ledger

ROLE: Final = "search"
_CHANGES_AT_ONCE: Final = 1000
_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 1.0
_LOOK: Final = 1.0
_WAITS: Final = "index_waits"
_log = structlog.get_logger(__name__)


class SharedIndex(Index, Protocol):
    """An index that several processes share, of which one follows the log."""

    async def lead(self) -> bool:
        """Tell whether this process is the one."""


class Follower:
    """Tells an index what happens, for as long as it runs.

    Args:
        partitions: of Chat's log.
    """

    def __init__(self, ledger: Ledger, contents: Contents, index: SharedIndex, partitions: int) -> None:
        """Follow ``ledger``'s own log."""
        self._ledger, self._contents, self._index = ledger, contents, index
        self._partitions = partitions
        self.lag = Lag()
        """How far the index is behind, while this process is the one that follows."""
        self._runner: asyncio.Task[None] | None = None
        self._parts: list[asyncio.Task[None]] = []
        self._forgetting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Follow as soon as it is this process's turn, until closed. Outages are waited out."""
        self._runner = asyncio.create_task(self._run(), name="search")

    async def close(self) -> None:
        """Stop."""
        # The parts are ended here and not by a task that is itself being ended: a part may take more than one cancellation.
        if self._runner is not None:
            await end([self._runner])
        await end([*self._parts, *self._forgetting])

    async def _run(self) -> None:
        while True:
            try:
                if await self._index.lead():
                    await self._follow()
            except Replaced:
                _log.info("index_replaced")
            except LedgerError as error:
                _log.warning(_WAITS, reason=error.reason)
            except Exception:  # noqa: BLE001 - whatever it is, what is said later must be found again
                _log.error("index_failed", exc_info=True)
            await end(self._parts)
            self.lag.end()
            await asyncio.sleep(_LOOK)

    async def _follow(self) -> None:
        source = self._ledger.engine.identity or ""
        places = await patiently(_WAITS, partial(self._index.begin, source, self._partitions))
        self.lag.begin(self._partitions)
        self._parts = [asyncio.create_task(self._look(), name="search-look")]
        for partition, after in enumerate(places):
            self._parts.append(asyncio.create_task(self._partition(partition, after), name=f"search-{partition}"))
        done, _ = await asyncio.wait(self._parts, return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()

    async def _look(self) -> None:
        """Notice that another index took this one's place, also while nothing is said."""
        while True:
            await asyncio.sleep(_LOOK)
            await patiently(_WAITS, partial(self._index.put, ()))

    async def _partition(self, partition: int, after: int) -> None:
        async with aclosing(self._ledger.tail(ROLE, partition).pages(after)) as pages:
            async for page in pages:
                begun = time.monotonic()
                waiting = page.waiting or int(not page.upto)
                self.lag.taken(partition, len(page.entries), waiting, page.first_at)
                found = await patiently(_WAITS, partial(self._told, page.entries))
                position = Position(partition, page.upto) if page.upto else None
                erased = [entry.aggregate for entry in page.entries if entry.aggregate.kind == PERSON]
                if erased:
                    await self._put(found, None)
                    found = []
                    await self._forget(erased)
                await self._put(found, position)
                self.lag.done(partition, page.last_at)
                # A quarter of the time at most is spent on it, and what comes meanwhile shares a transaction.
                await asyncio.sleep(min(_LONGEST_PAUSE, max(_PAUSE, 3 * (time.monotonic() - begun))))

    async def _told(self, entries: Sequence[Delivered]) -> list[Change]:
        found: list[Change] = []
        for entry in entries:
            if entry.aggregate.kind == KIND:
                tenant = entry.aggregate.tenant
                events = await self._contents.events(tenant, [recorded.payload for recorded in entry.events])
                found += changes(tenant, entry.aggregate.id, events)
        return found

    async def _forget(self, persons: Sequence[AggregateId]) -> None:
        """Forget persons who were erased: now, and when no key of theirs can be in this memory any more, for what is read just now."""
        for person in persons:
            self._contents.erased(person.tenant, person.id)
            await patiently(_WAITS, partial(self._index.remove_person, person.tenant, person.id))
        task = asyncio.create_task(self._forget_later(persons), name="search-forget")
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget_later(self, persons: Sequence[AggregateId]) -> None:
        await asyncio.sleep(GONE_S)
        for person in persons:
            await patiently(_WAITS, partial(self._index.remove_person, person.tenant, person.id))

    async def _put(self, found: Sequence[Change], position: Position | None) -> None:
        for start in range(0, max(1, len(found)), _CHANGES_AT_ONCE):
            some = found[start : start + _CHANGES_AT_ONCE]
            is_last = start + _CHANGES_AT_ONCE >= len(found)
            await patiently(_WAITS, partial(self._index.put, some, position if is_last else None))
