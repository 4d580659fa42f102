"""When a process is told to end: by SIGTERM, by SIGINT, or by the death of the parent that holds its standard input."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
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
    watching = os.environ.get(PARENT_PIPE) == "1" and _watch_parent(loop, told)
    try:
        yield told
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if watching:
            loop.remove_reader(sys.stdin.fileno())


def _watch_parent(loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> bool:
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            told.set()

    try:
        loop.add_reader(descriptor, readable)
    except OSError:
        structlog.get_logger().warning("parent_pipe_unusable")
        return False
    return True
