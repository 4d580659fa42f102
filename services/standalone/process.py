"""A process below this one, whose end can be awaited.

Started by the standard library, which uses vfork(2): the event loop's own way forks, and what gRPC's threads leave behind in a
forked process can crash it before it becomes another program.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Mapping, Sequence


class Process:
    """A started process. Its standard input is a pipe that this process holds for as long as it lives."""

    def __init__(self, command: Sequence[str], output: int, environment: Mapping[str, str]) -> None:
        """Start ``command`` from the loop's thread; what it says goes to the descriptor ``output``. Raises OSError."""
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
            # Ctrl-C is for the supervisor, which ends its children in order.
            start_new_session=True,
        )
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._wait, name=f"wait-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """How it ended: an exit code, or a signal's number below zero; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    def terminate(self) -> None:
        """Ask it to end."""
        self._popen.terminate()

    def kill(self) -> None:
        """End it."""
        self._popen.kill()

    async def wait(self) -> int:
        """Wait for its end; returns how it ended."""
        return await asyncio.shield(self._ended)

    def _wait(self) -> None:
        code = self._popen.wait()
        try:
            self._loop.call_soon_threadsafe(self._ended.set_result, code)
        except RuntimeError:
            return  # the loop has ended: nobody asks any more
