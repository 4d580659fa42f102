"""Streams that are cut off."""

from __future__ import annotations

import asyncio

import pytest

from services.runtime import admission
from services.runtime.admission import Cut


async def test_a_stream_that_lost_its_cancellation_is_cut_off_again_and_for_the_first_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stream() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(stream())
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
