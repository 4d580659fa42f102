"""Runs a process's main coroutine."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from services.runtime.config import EXIT_CODE, Unstartable

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run ``main`` to its end, on uvloop where it is installed; where it is Unstartable, say so in one line and exit with code 2."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(main)
        except Unstartable as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(EXIT_CODE)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop
