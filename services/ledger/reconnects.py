"""After a reconnect: announcements made meanwhile were not heard, so whoever watches looks for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog
from nats.aio.client import Client

from services.ledger.aggregate import Aggregate
from services.ledger.errors import LedgerError

_LOOK = 0.25
_AT_ONCE = 64
_log = structlog.get_logger(__name__)


async def catch_up(resident: Aggregate) -> None:
    """Loads what others wrote, and tries until it can be done or nobody watches any more."""
    wait = 0.1
    while resident.watchers:
        try:
            await resident.refresh()
            return
        except LedgerError as error:
            _log.warning("catch_up_waits", kind=resident.id.kind, reason=error.reason)
            await asyncio.sleep(wait)
            wait = min(5.0, wait * 2)


async def follow_reconnects(
    nats: Client, residents: Callable[[], Iterable[Aggregate]], reconnected: Callable[[], None]
) -> None:
    """Catches up what is watched after every reconnect, and tells of it, until cancelled."""
    seen = nats.stats["reconnects"]
    while True:
        await asyncio.sleep(_LOOK)
        if nats.stats["reconnects"] == seen or not nats.is_connected:
            continue
        seen = nats.stats["reconnects"]
        reconnected()
        watched = [resident for resident in residents() if resident.watchers]
        for start in range(0, len(watched), _AT_ONCE):
            await asyncio.gather(*(catch_up(resident) for resident in watched[start : start + _AT_ONCE]))
