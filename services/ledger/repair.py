"""Repair: every entry of the log that nobody announced as stored is loaded, and a load stores what is missing.

A writer that dies between append and store leaves entries in the log only. Sequences of a log are dense, so no consumer need look at every
entry to find those: once a second the floor below which everything is stored moves up to where the log's end was a second ago, and
only sequences on its way that were not announced are read. Every process does so for itself; loading twice changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.ledger.archive import Archive, Position
from services.ledger.ending import end as end_tasks
from services.ledger.errors import HistoryGap, LedgerError
from services.ledger.ids import AggregateId
from services.ledger.log import Log, aggregate_of
from services.ledger.stored import StoredEntries

_EVERY = 1.0
_KEEP_EVERY = 5
_READ = 512
_AT_ONCE = 32
_BREATH = 10_000
_log = structlog.get_logger(__name__)


def role_of(identity: str) -> str:
    """Under which name repair keeps its place in a store."""
    return f"repair-{identity}"


class Repair:
    """One process's repair of its service's log.

    Args:
        refresh: loads an aggregate.
        identity: of the store; in a restored one repair begins at the log's beginning, whoever kept a place for it before.

    Attributes:
        through: True once all that the log held when this process began is stored.
    """

    def __init__(
        self,
        archive: Archive,
        log: Log,
        stored: StoredEntries,
        refresh: Callable[[AggregateId], Awaitable[object]],
        identity: str,
    ) -> None:
        self._role = role_of(identity)
        self._archive, self._entries, self._stored, self._refresh = archive, log, stored, refresh
        self.through = False
        self._floor = log.epoch - 1
        self._kept = 0

    async def run(self) -> None:
        """Repairs until cancelled; outages are waited out."""
        end = 0
        turn = 0
        while True:
            try:
                if not turn:
                    await self._resume()
                ends = await self._entries.ends()
                self._floor = max(self._floor, ends.first - 1)
                await self._settle(end)
                self.through = turn > 0
                end = ends.last
                turn += 1
                if turn % _KEEP_EVERY == 0:
                    await self._keep()
            except LedgerError as error:
                _log.warning("repair_waits", service=self._entries.service, reason=error.reason)
            await asyncio.sleep(_EVERY)

    async def _resume(self) -> None:
        kept = await self._archive.position(self._role, self._entries.service, 0)
        if kept is not None and kept.epoch == self._entries.epoch:
            self._floor = self._kept = kept.seq

    async def _keep(self) -> None:
        if self._floor > self._kept:
            position = Position(self._entries.epoch, self._floor)
            await self._archive.put_position(self._role, self._entries.service, 0, position)
            self._kept = self._floor

    async def _settle(self, until: int) -> None:
        """Moves the floor up to `until`, which was the log's end a second ago."""
        while self._floor < until:
            known = self._floor
            for _ in range(_BREATH):
                if known >= until or not self._stored.knows(known + 1):
                    break
                known += 1
            else:
                await asyncio.sleep(0)  # others want to run too
            if known > self._floor:
                self._floor = known
            else:
                self._floor = await self._read(known + 1, until)

    async def _read(self, start: int, until: int) -> int:
        """Loads the aggregates of the unannounced entries from `start` on; answers how far that settles."""
        end = start
        while end < until and end - start < _READ and not self._stored.knows(end + 1):
            end += 1
        found = dict.fromkeys(aggregate_of(message.subject) for message in await self._entries.page(start, end))
        room = asyncio.Semaphore(_AT_ONCE)

        async def load(aggregate: AggregateId) -> None:
            async with room:
                await self._load(aggregate)

        loads = [asyncio.ensure_future(load(aggregate)) for aggregate in found]
        try:
            await asyncio.gather(*loads)
        finally:
            await end_tasks(loads)
        return end

    async def _load(self, aggregate: AggregateId) -> None:
        try:
            await self._refresh(aggregate)
        except HistoryGap:
            # Whoever asks for it is refused until an operator restores; the others' repair must not wait for that.
            _log.error("history_gap", kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id)
