"""The guard: notices that a life of the log, or the contents of the store, are not what this process began with.

A process never goes from one life into the next: it ends, and whoever started it starts it again. So all that it holds in memory goes
with the life it belongs to (rules 11 and 12).
"""

from __future__ import annotations

import asyncio

import structlog

from services.ledger.engine import Engine
from services.ledger.errors import LedgerError

_EVERY = 1.0
_log = structlog.get_logger(__name__)


class Guard:
    """Watches over one process's life of the log and its store.

    Args:
        identity: the store's, as this process found it.

    Attributes:
        over: set once this process must end and be started again.
        refusal: why nothing may be written just now; None where all is well.
    """

    def __init__(self, engine: Engine, identity: str) -> None:
        self._engine, self._identity = engine, identity
        self._life, self._archive = engine.log, engine.archive
        self.over = asyncio.Event()
        self.refusal: str | None = None

    async def run(self) -> None:
        """Looks every second until cancelled; outages are waited out."""
        while not self.over.is_set():
            try:
                await self.look()
            except LedgerError as error:
                _log.warning("guard_waits", service=self._life.service, reason=error.reason)
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Looks once.

        Raises:
            LedgerError: log or store cannot be asked now.
        """
        asked_at = self._engine.clock.monotonic()
        registered = await self._archive.epoch(self._life.service)
        if registered != self._life.epoch:
            self._end("another life of the log" if registered else "the store was lost")
        elif await self._archive.identity() != self._identity:
            self._end("another store")
        else:
            self._engine.sure_at = max(self._engine.sure_at, asked_at)
            await self._compare()

    async def _compare(self) -> None:
        newest = await self._archive.newest_seq()
        ends = await self._life.ends()
        if ends.last >= newest:
            self.refusal = None
        elif self.refusal is None:
            self.refusal = "the log is shorter than the store: an operator must recover it"
            _log.error("log_lost", service=self._life.service, last=ends.last, stored=newest)

    def _end(self, why: str) -> None:
        _log.error("life_over", service=self._life.service, epoch=self._life.epoch, why=why)
        self.refusal = f"this process must start again: {why}"
        self.over.set()
