"""Whose logs this process consumes: its own, and other services' ones through each of their lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.client import Client

from services.ledger.archive import Archive
from services.ledger.consumer import Consumer, Handler
from services.ledger.deadletters import DeadLetters
from services.ledger.desk import Desk, RemoteDesk
from services.ledger.ending import end
from services.ledger.engine import Tracer
from services.ledger.errors import LogUnavailable
from services.ledger.lives import newest_life, partitions_of
from services.ledger.stored import StoredEntries

_LOOK_FOR_LIFE = 2.0
_log = structlog.get_logger(__name__)

Start = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


@dataclass(frozen=True)
class Source:
    """One life of a log that is consumed: where its owner is asked, and what is known to be stored of it."""

    service: str
    epoch: int
    partitions: int
    desk: Desk
    stored: StoredEntries


class Sources:
    """The consumers of one process.

    Args:
        writer: this process's name.
        start: starts a task that ends with the ledger.
        own: this service's log; a new life of it is a new start of this process.
    """

    def __init__(
        self, nats: Client, archive: Archive, letters: DeadLetters, tracer: Tracer, writer: str, start: Start, *, own: Source
    ) -> None:  # fmt: skip
        self._nats, self._archive, self._letters, self._tracer = nats, archive, letters, tracer
        self._writer, self._start, self._own = writer, start, own
        self.consumers: list[Consumer] = []

    def consumer(self, role: str, source: str) -> Consumer | None:
        """One of a role's consumers of a source; None where this process has none."""
        return next((c for c in self.consumers if (c.role, c.source) == (role, source)), None)

    async def consume(self, role: str, source: str, handle: Handler, kind: str | None) -> None:
        """Consumes every partition of a log, life after life, until cancelled."""
        if source == self._own.service:
            self._begin(self._own, role, handle, kind)
            return
        epoch = 0
        while True:
            epoch = await self._life_of(source, epoch)
            life = await self._foreign(source, epoch)
            consumers, tasks = self._begin(life, role, handle, kind)
            await self._life_of(source, epoch)
            await end(tasks)
            await life.stored.close()
            self.consumers = [c for c in self.consumers if c not in consumers]

    def _begin(
        self, life: Source, role: str, handle: Handler, kind: str | None
    ) -> tuple[list[Consumer], list[asyncio.Task[None]]]:
        consumers = [
            Consumer(
                self._nats, self._archive, self._letters, self._tracer, life.desk, life.stored,
                role=role, source=life.service, epoch=life.epoch, partition=partition, handle=handle, kind=kind,
            )
            for partition in range(life.partitions)
        ]  # fmt: skip
        self.consumers += consumers
        return consumers, [self._start(c.run(), f"consume-{role}-{c.partition}") for c in consumers]

    async def _foreign(self, source: str, epoch: int) -> Source:
        stored = StoredEntries(self._writer)
        await stored.listen(self._nats, source, epoch)
        wait = 0.1
        while True:
            try:
                partitions = await partitions_of(self._nats.jetstream(), source, epoch)
                return Source(source, epoch, partitions or self._own.partitions, RemoteDesk(self._nats, source), stored)
            except LogUnavailable:
                _log.warning("source_waits", source=source)
                await asyncio.sleep(wait)
                wait = min(2.0, wait * 2)

    async def _life_of(self, source: str, above: int) -> int:
        """Waits for the first, or the next, life of a log."""
        wait = 0.05
        while True:
            try:
                epoch = await newest_life(self._nats.jetstream(), source)
                if epoch is not None and epoch > above:
                    return epoch
            except LogUnavailable:
                _log.warning("source_waits", source=source)
            await asyncio.sleep(wait)
            wait = min(1.0 if not above else _LOOK_FOR_LIFE, wait * 2)
