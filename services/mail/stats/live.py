"""One ``WatchMailStats`` stream: a snapshot, then what changes, until the server drains."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Final

from tradewind.mail.v1 import mail_service_pb2 as pb

from services.ledger.errors import LedgerError
from services.ledger.ledger import Ledger
from services.mail.stats.counting import SECONDS
from services.mail.stats.reading import read_rows
from services.mail.stats.watching import Hub, Watch
from services.runtime.call import Call

LOOK_AGAIN: Final = 10.0
"""Announcements may be lost; the store is looked at once in so many seconds."""
MOST_A_FRAME: Final = 1000
RECONNECT_MS: Final = (500, 3000)


class LiveStats:
    """What a stream shows."""

    def __init__(self, ledger: Ledger, hub: Hub, call: Call, *, dimension: int, period: int, value: str) -> None:
        """Show the caller's tenant's rows of a dimension and a period; of one value, or of all where it is empty."""
        self._ledger = ledger
        self._hub = hub
        self._call = call
        self._dimension, self._period, self._value = dimension, period, value
        self._seconds = SECONDS[pb.StatsPeriod.ValueType(period)]
        self._watch = Watch(dimension, period, value, self._current() - self._seconds)

    async def frames(self) -> AsyncIterator[pb.WatchMailStatsResponse]:
        """Give the frames.

        Raises:
            StoreUnavailable: the snapshot cannot be read.
        """
        tenant = self._call.caller.tenant
        current = self._current()
        # First the ear, then the eye: what changes between the two is heard.
        await self._hub.add(tenant, self._watch)
        try:
            await self._look()
            stats = self._watch.take(not_before=current)
            yield pb.WatchMailStatsResponse(stats=stats[:MOST_A_FRAME], snapshot=True)
            for at in range(MOST_A_FRAME, len(stats), MOST_A_FRAME):
                yield pb.WatchMailStatsResponse(stats=stats[at : at + MOST_A_FRAME])
            async for frame in self._changes():
                yield frame
        finally:
            await self._hub.remove(tenant, self._watch)

    async def _changes(self) -> AsyncIterator[pb.WatchMailStatsResponse]:
        draining = self._call.draining
        loop = asyncio.get_running_loop()
        look_at = loop.time() + LOOK_AGAIN
        told = asyncio.create_task(draining.wait(), name="watch-mail-stats-drain")
        told.add_done_callback(lambda _: self._watch.nudge())
        try:
            while not draining.is_set():
                await self._watch.wait(max(0.0, look_at - loop.time()))
                stats = self._watch.take()
                for at in range(0, len(stats), MOST_A_FRAME):
                    yield pb.WatchMailStatsResponse(stats=stats[at : at + MOST_A_FRAME])
                if loop.time() >= look_at:
                    look_at = loop.time() + LOOK_AGAIN
                    await self._look_if_possible()
            yield pb.WatchMailStatsResponse(reconnect_after_ms=random.randint(*RECONNECT_MS))
        finally:
            told.cancel()
            await asyncio.gather(told, return_exceptions=True)

    async def _look(self) -> None:
        since = self._current() - self._seconds
        self._watch.forget_before(since)
        rows = await read_rows(
            self._ledger,
            self._call.caller.tenant,
            self._dimension,
            self._period,
            since,
            since + 4 * self._seconds,
            value=self._value,
        )
        self._watch.offer(rows)

    async def _look_if_possible(self) -> None:
        try:
            await self._look()
        except LedgerError:
            return  # what is shown stays true, and is looked at again

    def _current(self) -> int:
        now = int(time.time())
        return now - now % self._seconds
