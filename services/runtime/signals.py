"""When a process is told to end: by SIGTERM, by SIGINT, or by the death of the parent that holds its standard input."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

PARENT_PIPE = "TRADEWIND_PARENT_PIPE"
"""Set to 1 by a supervisor that keeps our standard input open for as long as it lives."""


@contextmanager
def told_to_end() -> Iterator[asyncio.Event]:
    """Give an event that is set when this process shall end; signals are handled only inside the context."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    watching = watch_parent(told.set)
    try:
        yield told
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if watching:
            loop.remove_reader(sys.stdin.fileno())


def watch_parent(died: Callable[[], object]) -> bool:
    """Call ``died`` once when the supervisor that holds our standard input is gone, in place of what was to be called before.

    Gives False, and does nothing, where no supervisor promised to hold it.
    """
    if os.environ.get(PARENT_PIPE) != "1":
        return False
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            died()

    try:
        loop.add_reader(descriptor, readable)
    except OSError:
        structlog.get_logger().warning("parent_pipe_unusable")
        return False
    return True
