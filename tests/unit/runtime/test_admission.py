"""Streams that are cut off, also where a cancellation is lost on the way."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.runtime import admission, expiry
from services.runtime.admission import Cut
from services.runtime.expiry import Expiry


async def _stubborn() -> None:
    """Lose the first cancellation."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def test_a_stream_that_lost_its_cancellation_is_cut_off_again_and_for_the_first_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = asyncio.create_task(_stubborn())
    cut, first = Cut(task), ValueError("first")
    await asyncio.sleep(0)
    cut(first)
    await asyncio.sleep(0)
    cut(ValueError("at once again"))  # it may be telling why
    await asyncio.sleep(0)
    assert not task.done()
    monkeypatch.setattr(admission, "_AGAIN", 0.0)
    cut(ValueError("later"))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cut.refusal is first


async def test_a_stream_whose_token_expired_and_that_lost_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expiry, "_CANCEL_AGAIN_S", 0.01)
    task = asyncio.create_task(_stubborn())
    await asyncio.sleep(0)
    watching = Expiry(time.time() - 1, task)
    async with asyncio.timeout(60):
        await asyncio.wait([task])
    watching.stop()
    assert task.cancelled()
    assert watching.passed
