"""Keeping work up that is to last as long as its process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from services.ledger.errors import LedgerError

_AGAIN = 1.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


async def keep_up(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Does work until it is done. Where it fails of what nobody thought of, that is told, and it is begun again after a second.

    A task that dies of a defect is noticed by nobody, and what it did for all callers is done no more. So `work` must bear to be begun
    again; outages that it knows of it waits out itself.
    """
    while True:
        try:
            return await work()
        except Exception:  # noqa: BLE001 - whatever it is, it must not end what others count on
            _log.error("work_failed", work=name, exc_info=True)
        await asyncio.sleep(_AGAIN)


async def patiently(told: str, step: Callable[[], Awaitable[_T]], **whose: str) -> _T:
    """Does one step of such work, and waits an outage of the store, or of what else it needs, out.

    `told` names the line in the log, and `whose` work it is stands there too.
    """
    wait = _FIRST_WAIT
    while True:
        try:
            return await step()
        except LedgerError as error:
            _log.warning(told, reason=error.reason, **whose)
            await asyncio.sleep(wait)
            wait = min(_LONGEST_WAIT, wait * 2)
