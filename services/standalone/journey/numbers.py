"""A stream of mail statistics that is open all along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from tradewind.mail.v1.mail_service_pb2 import STATS_DIMENSION_DOMAIN, STATS_PERIOD_DAY, MailStats
from tradewind.sdk import Client

from services.standalone.journey.expect import STEP_SECONDS, Unmet

_COUNTS = (
    "queued",
    "attempts",
    "delivered",
    "deferred",
    "bounced",
    "expired",
    "outcome_unknown",
    "opens",
    "unique_opens",
)


class StatsWatch:
    """The counts of one recipient domain, as the stream told them last."""

    def __init__(self, client: Client, domain: str) -> None:
        """Watch as ``client``; use it as a context manager."""
        self._client = client
        self._domain = domain
        # Two rows where midnight passes meanwhile.
        self._rows: dict[int, MailStats] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.frames = 0

    async def __aenter__(self) -> StatsWatch:
        """Open the stream."""
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def counts(self) -> dict[str, int]:
        """All counts, over all periods seen."""
        return {name: sum(getattr(row, name) for row in self._rows.values()) for name in _COUNTS}

    async def until(
        self, what: str, expected: object, holds: Callable[[dict[str, int]], bool], seconds: float = STEP_SECONDS
    ) -> dict[str, int]:
        """Wait until the counts are as they should be, so many seconds at most. Raises Unmet."""
        try:
            async with asyncio.timeout(seconds):
                while not holds(self.counts()):
                    self._changed.clear()
                    if self._task is not None and self._task.done():
                        self._task.result()
                    await self._changed.wait()
        except TimeoutError:
            seen = {name: count for name, count in self.counts().items() if count}
            raise Unmet(what, expected, seen) from None
        return self.counts()

    async def _watch(self) -> None:
        try:
            frames = self._client.mail.watch_mail_stats(STATS_DIMENSION_DOMAIN, STATS_PERIOD_DAY, value=self._domain)
            async for frame in frames:
                self.frames += 1
                for row in frame.stats:
                    self._rows[row.period_start.seconds] = row
                self._changed.set()
        finally:
            self._changed.set()
