"""A thread that does blocking work for the event loop: all that waits is done in one go and answered by one wake-up.

Waking the loop once per result costs more than the result; batches are what makes a store of one file fast.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from services.ledger.errors import StoreUnavailable

J = TypeVar("J")


class Lane(Generic[J]):
    """Hands jobs to one thread in batches.

    Args:
        name: of the thread.
        work: called in the thread with all that waits (at most `batch`); answers one result or exception per job.
        batch: most jobs in one go.
        capacity: most jobs that may wait; beyond it `submit` raises StoreUnavailable.
    """

    def __init__(
        self, name: str, work: Callable[[Sequence[J]], Sequence[Any]], *, batch: int = 2048, capacity: int = 50_000
    ) -> None:
        self._work = work
        self._batch = batch
        self._capacity = capacity
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[tuple[J, asyncio.Future[Any]]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: J) -> asyncio.Future[Any]:
        """Queues a job; the future carries its result.

        Raises:
            StoreUnavailable: the lane is closed, or holds as much as it may.
        """
        if self._closing or len(self._jobs) >= self._capacity:
            raise StoreUnavailable("the store's queue is full" if not self._closing else "the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.append((job, future))
        self._wake.set()
        return future

    async def close(self) -> None:
        """Does what is queued, then ends the thread."""
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._jobs:
                taken = [self._jobs.popleft() for _ in range(min(len(self._jobs), self._batch))]
                wanted = [pair for pair in taken if not pair[1].cancelled()]  # who left needs no answer
                if wanted:
                    self._answer(wanted)
            if self._closing:
                return

    def _answer(self, taken: list[tuple[J, asyncio.Future[Any]]]) -> None:
        try:
            results = self._work([job for job, _ in taken])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is every waiting caller's answer
            results = [error] * len(taken)
        pairs = [(future, result) for (_, future), result in zip(taken, results, strict=True)]
        try:
            self._loop.call_soon_threadsafe(_resolve, pairs)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _resolve(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in pairs:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
