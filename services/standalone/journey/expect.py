"""How a step of the journey says what it expected and what it saw instead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")

STEP_SECONDS = 60.0
"""How long anything may take, killed and restarted processes included."""


class Unmet(Exception):
    """What a step expected did not come true."""

    def __init__(self, what: str, expected: object, seen: object) -> None:
        """Name what was looked at, what was expected of it, and what was seen."""
        super().__init__(f"{what}: expected {expected}, saw {seen}")


def expect(what: str, expected: object, seen: object) -> None:
    """Raise Unmet unless both are equal."""
    if expected != seen:
        raise Unmet(what, expected, seen)


async def within(what: str, awaited: Awaitable[_T], seconds: float = STEP_SECONDS) -> _T:
    """Await something for ``seconds`` at most; raises Unmet when it does not come."""
    try:
        async with asyncio.timeout(seconds):
            return await awaited
    except TimeoutError:
        raise Unmet(what, f"to come within {seconds:.0f} s", "nothing") from None
