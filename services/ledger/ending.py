"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN = 0.2


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks until they have ended, and looks at no result.

    Once is not enough: up to Python 3.11 `asyncio.wait_for`, which the NATS client stands on, swallows a cancellation that comes
    together with the result. For the same reason whoever is itself cancelled meanwhile, perhaps again and again, first ends what it
    began, and is cancelled then.
    """
    interrupted: asyncio.CancelledError | None = None
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        try:
            _, waiting = await asyncio.wait(waiting, timeout=_AGAIN)
        except asyncio.CancelledError as error:
            interrupted = error
            waiting = {task for task in waiting if not task.done()}
    if interrupted is not None:
        raise interrupted
