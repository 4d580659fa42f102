"""Keeping work up that is to last as long as its process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

_AGAIN = 1.0
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
