"""Which life of the log is the current one: found, begun, or refused with the reason why.

A life is a stream; its first sequence is its number (microseconds at creation, always above every earlier life's). The store
registers the current one. A log that is gone, or shorter than the store, is a lost log: only who owns everything (standalone at
its start) or an operator may begin a new life; a store that knows of no life beside a log with entries is a lost store.
"""

from __future__ import annotations

import asyncio

import structlog

from services.ledger.archive import Archive
from services.ledger.clock import Clock
from services.ledger.errors import LogLost, StoreLost
from services.ledger.log import Lives, LogSettings

_log = structlog.get_logger(__name__)


async def open_epoch(lives: Lives, archive: Archive, settings: LogSettings, clock: Clock) -> int:
    """The current life of the log, begun where there never was one.

    Raises:
        LogLost: the registered life is gone or shorter than the store, and this process may not begin a new one.
        StoreLost: the log has lives, but this store knows of none.
        LogUnavailable: the log cannot be asked now.
        StoreUnavailable: the store cannot be asked now.
    """
    registered = await archive.epoch(settings.service)
    if registered is None:
        return await _begin_first(lives, archive, settings, clock)
    await _identify(archive, registered)
    newest = await archive.newest_seq()
    ends = await lives.ends(registered)
    if ends is not None and ends.last >= newest:
        return registered
    if not settings.exclusive:
        if ends is None and newest < registered:
            return await _wait_for(lives, registered)
        raise LogLost("the log is lost or shorter than the store: an operator must recover it")
    return await _begin_next(lives, archive, settings, clock, registered)


async def _begin_first(lives: Lives, archive: Archive, settings: LogSettings, clock: Clock) -> int:
    if await lives.newest() is not None:
        registered = await archive.epoch(settings.service)
        if registered is None:  # else another process began it between the two questions
            raise StoreLost("the log has entries that this store knows nothing of: restore the store")
        return await _wait_for(lives, registered)
    epoch = await lives.claim(clock.wall_us())
    await _identify(archive, epoch)
    registered = await archive.register_epoch(settings.service, epoch)
    if registered == epoch:
        await lives.begin(epoch)
    return await _wait_for(lives, registered)


async def _identify(archive: Archive, epoch: int) -> None:
    """Gives a store without one its identity: the same whoever does it, as it is the first life's."""
    if await archive.identity() is None:
        await archive.put_identity(f"{epoch:x}")


async def next_epoch(lives: Lives, archive: Archive, settings: LogSettings, clock: Clock) -> int:
    """Registers a new life: above all sequences ever given, even where the clock stepped back. The log does not hold it yet.

    Raises:
        LogLost: somebody else registered a later one.
    """
    registered = await archive.epoch(settings.service) or 0
    known = max(registered, await archive.newest_seq(), await lives.newest() or 0)
    epoch = max(clock.wall_us(), known + 1)
    if await archive.register_epoch(settings.service, epoch) != epoch:
        raise LogLost("another process began a new life of the log: start again")
    return epoch


async def _begin_next(lives: Lives, archive: Archive, settings: LogSettings, clock: Clock, registered: int) -> int:
    """A new life after a lost log (rule 11), by the one process there is: nobody's late write need be waited for."""
    epoch = await next_epoch(lives, archive, settings, clock)
    _log.warning("log_recovered", service=settings.service, epoch=epoch, earlier=registered)
    await lives.begin(epoch)
    await lives.end(registered)
    return epoch


async def _wait_for(lives: Lives, epoch: int) -> int:
    """Waits for the process that registered a life to make it."""
    for _ in range(100):
        if await lives.ends(epoch) is not None:
            return epoch
        await asyncio.sleep(0.1)
    raise LogLost("the registered life of the log was never made: an operator must recover it")
