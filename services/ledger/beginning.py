"""What a process waits for before it serves: a life of the log, with all that stands beside it, and the store's identity."""

from __future__ import annotations

import asyncio

import structlog
from nats.aio.client import Client

from services.ledger.archive import Archive
from services.ledger.clock import Clock
from services.ledger.deadletters import open_letters
from services.ledger.epoch import open_epoch
from services.ledger.errors import LogLost, LogUnavailable
from services.ledger.lives import JetStreamLives
from services.ledger.log import LogSettings

_log = structlog.get_logger(__name__)


async def when_reachable(nats: Client, archive: Archive, settings: LogSettings, clock: Clock) -> tuple[int, str]:
    """The current life of the log, with all that stands beside it, and the store's identity; a log that cannot be reached is waited for.

    Raises:
        LogLost, StoreLost: an operator must recover.
        StoreUnavailable: the store does not answer.
    """
    lives = JetStreamLives(nats, settings)
    wait = 0.1
    while True:
        try:
            epoch = await open_epoch(lives, archive, settings, clock)
            await lives.begin_timers(epoch)
            await open_letters(nats, settings.service, settings.replicas)
            return epoch, await archive.identity() or ""
        except LogLost:
            raise
        except LogUnavailable as error:
            _log.warning("log_waits", service=settings.service, reason=str(error))
            await asyncio.sleep(wait)
            wait = min(2.0, wait * 2)
