"""What an operator does about a lost log (rule 11), and how a store that was lost is put in charge again (rule 12).

The order of the steps is what makes them safe; docs/adr/0010-recovery.md has the argument. Every step may be the last one of a process
that dies: another run begins with a life of its own, so nobody ever makes a life that somebody else may have used already.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import structlog

from services.ledger.archive import Archive
from services.ledger.clock import SYSTEM, Clock
from services.ledger.engine import Limits
from services.ledger.epoch import next_epoch
from services.ledger.errors import LogLost
from services.ledger.log import Ends, Lives, LogSettings

QUIET = 2 * Limits().acknowledge_within
"""`2D`: seconds after which nobody confirms anything any more in the name of what came before."""
_LOOK = 0.5
_log = structlog.get_logger(__name__)

Tell = Callable[[str], None]
"""Takes a line for the operator."""


class NotNow(Exception):
    """What an operator asked for would do harm, or nothing."""


class Superseded(NotNow):
    """Another operator's command came later; that one decides."""


class LogState(Enum):
    """How the log stands to the store."""

    WHOLE = "whole"
    GONE = "gone"
    SHORTER = "shorter than the store"
    UNMADE = "registered, but not made yet"
    UNREGISTERED = "unknown to the store"
    NEW = "never begun"

    @property
    def lost(self) -> bool:
        """Whether an operator must recover the log."""
        return self in (LogState.GONE, LogState.SHORTER, LogState.UNMADE)


@dataclass(frozen=True)
class Finding:
    """What log and store say about each other.

    Attributes:
        registered: the life that the store has registered.
        ends: where that life begins and ends in the log; None where it is not there.
        newest_life: the newest life that the log holds.
        newest_stored: the highest sequence of a stored entry.
        identity: of the store.
    """

    registered: int | None
    ends: Ends | None
    newest_life: int | None
    newest_stored: int
    identity: str | None

    @property
    def state(self) -> LogState:
        """How the log stands to the store."""
        if self.registered is None:
            return LogState.NEW if self.newest_life is None else LogState.UNREGISTERED
        if self.ends is None:
            return LogState.UNMADE if self.newest_stored < self.registered else LogState.GONE
        return LogState.WHOLE if self.ends.last >= self.newest_stored else LogState.SHORTER


async def look(lives: Lives, archive: Archive, service: str) -> Finding:
    """Compares log and store.

    Raises:
        LogUnavailable, StoreUnavailable: one of them cannot be asked now.
    """
    registered = await archive.epoch(service)
    stored = await archive.newest_seq()  # before the log is asked: it is never ahead of the log's end then
    ends = None if registered is None else await lives.ends(registered)
    return Finding(registered, ends, await lives.newest(), stored, await archive.identity())


async def recover_log(
    lives: Lives, archive: Archive, settings: LogSettings, tell: Tell, *,
    clock: Clock = SYSTEM, force: bool = False, quiet: float = QUIET,
) -> int:  # fmt: skip
    """Puts a new life in the place of a lost log; answers its epoch. Services go on by themselves.

    Args:
        force: do it although the log is not lost. What it holds and the store does not, which nobody was told of, is dropped.
        quiet: seconds between the end of the old life and the beginning of the new one.

    Raises:
        NotNow: the log is not lost.
        Superseded: another operator's command came later, and goes on.
        LogUnavailable, StoreUnavailable: log or store did not answer; begin again.
    """
    found = await look(lives, archive, settings.service)
    if found.registered is None:
        raise NotNow("the store knows of no life of the log: there is nothing to recover; a lost store is restored")
    if not found.state.lost and not force:
        raise NotNow("the log is not lost: it holds all that the store has seen")
    try:
        epoch = await next_epoch(lives, archive, settings, clock)
    except LogLost as error:
        raise Superseded("another operator began a later life of the log") from error
    tell(f"registered life {epoch} in the place of {found.registered}, whose log is {found.state.value}")
    await _end_older(lives, epoch, tell)
    tell(f"waiting {quiet:.0f} s, until nobody can confirm anything in the old life any more")
    await _stay_registered(archive, settings.service, epoch, quiet, clock)
    await lives.begin(epoch)
    if await archive.epoch(settings.service) != epoch:
        await lives.end(epoch)
        raise Superseded("another operator began a later life of the log")
    _log.warning("log_recovered", service=settings.service, epoch=epoch, earlier=found.registered)
    tell(f"life {epoch} of the log has begun; processes of {settings.service} start again and go on")
    return epoch


async def _end_older(lives: Lives, epoch: int, tell: Tell) -> None:
    while (older := await lives.newest()) is not None and older < epoch:
        await lives.end(older)
        tell(f"ended life {older}")


async def _stay_registered(archive: Archive, service: str, epoch: int, quiet: float, clock: Clock) -> None:
    """Waits, and looks to the end whether nobody else registered a later life."""
    until = clock.monotonic() + quiet
    while True:
        left = until - clock.monotonic()
        if await archive.epoch(service) != epoch:
            raise Superseded("another operator began a later life of the log")
        if left <= 0:
            return
        await asyncio.sleep(min(_LOOK, left))


async def require_unused(archive: Archive, service: str, tell: Tell, allowed: str) -> None:
    """Makes sure that nobody uses a store.

    Args:
        allowed: an identity that a run before this one left, so that it may go on.

    Raises:
        NotNow: somebody does.
        StoreUnavailable: it cannot be asked.
    """
    if await archive.epoch(service) is not None:
        raise NotNow("the store is in use: it has a registered life of the log")
    identity = await archive.identity()
    if identity == allowed:
        tell("going on with a restore that was not finished")
    elif identity is not None:
        raise NotNow("the store is not empty, and not what this restore began with: empty it first")
    elif (await archive.scan(after_seq=0, limit=1)).entries:
        tell(
            "the store holds entries of processes that had not noticed its loss yet; the log fills what is before them"
        )


async def put_in_charge(
    archive: Archive, service: str, epoch: int, since: float, tell: Tell, *, clock: Clock = SYSTEM, quiet: float = QUIET
) -> None:
    """Registers a life of the log in a store that has its contents, under a new identity: from then on services use it.

    Args:
        since: monotonic time at which the store was seen without the old identity and without a registered life.

    Raises:
        StoreUnavailable: not done; begin again.
    """
    left = since + quiet - clock.monotonic()
    if left > 0:
        tell(f"waiting {left:.0f} s, until nobody trusts what the lost store answered")
        await asyncio.sleep(left)
    await archive.put_identity(uuid.uuid4().hex)
    await archive.register_epoch(service, epoch)
    _log.warning("store_restored", service=service, epoch=epoch)
    tell(f"registered life {epoch} of the log; processes of {service} start again and go on")
