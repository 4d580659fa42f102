"""Statistics as streams: what changed, live, from whichever process counts; the newest values only, so a slow reader costs little."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from tradewind.mail.v1.mail_service_pb2 import MailStats
from tradewind.mail.v1.mail_stats_pb2 import MailStatsRow, MailStatsRows

from services.ledger.ids import token
from services.mail.stats.reading import MOST_ROWS, summed

_CHUNK: Final = 500
_log = structlog.get_logger(__name__)

_Place = tuple[int, str]


def subject(tenant: str) -> str:
    """Where a tenant's changed rows are announced."""
    return f"mail.stats.{token(tenant)}"


class Announcer:
    """Announces rows that changed. One that is lost is made good by the next change of its row, and by every watcher's own look."""

    def __init__(self, nats: Client) -> None:
        """Publish on ``nats``."""
        self._nats = nats

    async def announce(self, tenant: str, rows: Sequence[MailStatsRow]) -> None:
        """Publish a tenant's rows."""
        try:
            for at in range(0, len(rows), _CHUNK):
                await self._nats.publish(
                    subject(tenant), MailStatsRows(rows=rows[at : at + _CHUNK]).SerializeToString()
                )
        except NatsError as error:
            _log.warning("statistics_not_announced", error=type(error).__name__)


class Watch:
    """One reader's rows of the current period and the one before, and which sums it has not been told."""

    def __init__(self, dimension: int, period: int, value: str, since: int) -> None:
        """Look at periods that begin at or after ``since``, in seconds."""
        self._dimension, self._period, self._value = dimension, period, value
        self._since = since
        self._rows: dict[_Place, dict[int, MailStatsRow]] = {}
        self._untold: set[_Place] = set()
        self._ready = asyncio.Event()

    def offer(self, rows: Iterable[MailStatsRow]) -> None:
        """Take rows, wanted or not; an older one than is known changes nothing."""
        for row in rows:
            stats = row.stats
            place = (stats.period_start.seconds, stats.value)
            if (
                stats.dimension != self._dimension
                or stats.period != self._period
                or place[0] < self._since
                or (self._value and stats.value != self._value)
                or (place not in self._rows and len(self._rows) >= MOST_ROWS)
            ):
                continue
            parts = self._rows.setdefault(place, {})
            known = parts.get(row.partition)
            if known is None or known.seq < row.seq:
                parts[row.partition] = row
                self._untold.add(place)
        if self._untold:
            self._ready.set()

    def forget_before(self, since: int) -> None:
        """Let go of periods that began before ``since``."""
        self._since = max(self._since, since)
        for place in [place for place in self._rows if place[0] < self._since]:
            del self._rows[place]
            self._untold.discard(place)

    def take(self, not_before: int = 0) -> list[MailStats]:
        """Give the sums that changed since the last time; those of periods before ``not_before`` are passed over."""
        untold, self._untold = self._untold, set()
        self._ready.clear()
        parts = (row for place in untold if place[0] >= not_before for row in self._rows[place].values())
        return summed(parts)

    def nudge(self) -> None:
        """End a wait although there may be nothing to take."""
        self._ready.set()

    async def wait(self, seconds: float) -> None:
        """Wait until there is something to take, but no longer than so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return


class Hub:
    """Hands announced rows to this process's watches, with one subscription a tenant."""

    def __init__(self, nats: Client) -> None:
        """Listen on ``nats``."""
        self._nats = nats
        self._watches: dict[str, set[Watch]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._lock = asyncio.Lock()

    async def add(self, tenant: str, watch: Watch) -> None:
        """Begin to hand a tenant's rows to a watch. Raises nats.errors.Error."""
        self._watches.setdefault(tenant, set()).add(watch)
        async with self._lock:
            if tenant not in self._subscriptions:

                async def hear(message: Msg) -> None:
                    rows = MailStatsRows.FromString(message.data).rows
                    for each in self._watches.get(tenant, ()):
                        each.offer(rows)

                self._subscriptions[tenant] = await self._nats.subscribe(subject(tenant), cb=hear)

    async def remove(self, tenant: str, watch: Watch) -> None:
        """Stop."""
        watches = self._watches.get(tenant, set())
        watches.discard(watch)
        async with self._lock:
            if not watches:
                self._watches.pop(tenant, None)
                subscription = self._subscriptions.pop(tenant, None)
                if subscription is not None:
                    try:
                        await subscription.unsubscribe()
                    except NatsError as error:
                        _log.info("subscription_left_behind", error=type(error).__name__)
