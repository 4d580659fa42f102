"""Tasks that end for certain, and work that goes on whatever it fails of."""

from __future__ import annotations

import asyncio

import pytest

from services.ledger import lasting
from services.ledger.ending import end


async def _stubborn(swallowed: int) -> None:
    """Take so many cancellations for nothing."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if swallowed == 0:
                raise
            swallowed -= 1


async def _begun(task: asyncio.Task[None]) -> None:
    await asyncio.sleep(0)
    assert not task.done()


async def test_a_task_that_swallows_cancellations_ends() -> None:
    task = asyncio.create_task(_stubborn(2))
    await _begun(task)
    await end([task])
    assert task.cancelled()


async def test_who_is_ended_while_it_ends_others_leaves_none_behind() -> None:
    inner = asyncio.create_task(_stubborn(3))

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await end([inner])

    outer = asyncio.create_task(work())
    await _begun(outer)
    await _begun(inner)
    await end([outer])
    assert outer.cancelled()
    assert inner.cancelled()


async def test_work_that_fails_is_begun_again_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "_AGAIN", 0.0)
    tries: list[int] = []

    async def work() -> None:
        tries.append(len(tries))
        if len(tries) < 2:
            raise ZeroDivisionError

    await lasting.keep_up("work", work)
    assert tries == [0, 1]


async def test_work_that_lasts_is_ended_like_any_other() -> None:
    task = asyncio.create_task(lasting.keep_up("work", lambda: _stubborn(0)))
    await _begun(task)
    await end([task])
    assert task.cancelled()
