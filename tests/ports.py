"""Ports that nobody takes between a look and a start, or while who had one is away to come back on it.

They lie below those that the system gives to clients (an ephemeral port may be the source of anybody's connection, also of one that a
client makes to the very server that is away), are handed out one after the other, and each worker of pytest-xdist has a range of its own.
"""

import os
import random
import socket

HOST = "127.0.0.1"
_FIRST, _LAST, _WORKERS = 10_000, 32_000, 4
_EACH = (_LAST - _FIRST) // _WORKERS


class _Range:
    """One worker's range, gone through again and again."""

    def __init__(self, worker: int) -> None:
        self._first = _FIRST + worker % _WORKERS * _EACH
        # Two runs of the tests on one machine do not begin at the same place.
        self._at = random.SystemRandom().randrange(_EACH)

    def take(self, count: int) -> int:
        for _ in range(_EACH):
            at = self._at if self._at + count <= _EACH else 0
            self._at = at + count
            if all(_is_free(self._first + at + offset) for offset in range(count)):
                return self._first + at
        raise AssertionError("no ports are free")


_own = _Range(int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))


def free_port() -> int:
    """A port that nobody uses now, and no other test will."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many in a row."""
    return _own.take(count)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
