"""One child process: started, watched, started again when it dies, ended in bounded time."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from services.standalone.guard import HELD_EXIT_CODE
from services.standalone.home import Home
from services.standalone.output import Output
from services.standalone.process import Process
from services.standalone.ready import Probe

BAD_SETTINGS_EXIT_CODE = 2

_READY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_BACKOFF_SECONDS = (0.1, 0.3, 1.0, 2.0, 5.0)
_MOST_RESTARTS = 20
_HEALTHY_SECONDS = 30.0


class ChildFailed(Exception):
    """A child process cannot be brought to serve."""


@dataclass(frozen=True)
class Program:
    """What to run, and how to know that it serves."""

    name: str
    command: tuple[str, ...]
    ready: Probe
    stage: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    log_suffix: str = ".jsonl"


class Child:
    """A program under watch.

    Its end is noticed at once, told through ``tell``, and answered by a new start after a pause that grows with each
    failure; after 20 starts none of which served for half a minute it is given up, and at once where it ended by itself
    before it ever served.
    """

    def __init__(self, program: Program, home: Home, tell: Callable[[str], None]) -> None:
        """Run ``program`` for the standalone of ``home``; ``tell`` gets a line for people when something happens."""
        self.name = program.name
        self.stage = program.stage
        self.restarts = 0
        """How often it was started again."""
        self._program = program
        self._tell = tell
        self._lock_file = home.run / f"{program.name}.lock"
        self._log_file = home.logs / f"{program.name}{program.log_suffix}"
        self._output = Output(self._log_file)
        self._process: Process | None = None
        self._ending = False
        self._served = False
        self._log = structlog.get_logger().bind(child=program.name)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start it, without waiting for it to serve."""
        writing = self._output.begin()
        try:
            self._process = Process(self._guarded(), writing, {**os.environ, **self._program.environment})
        finally:
            os.close(writing)
        self._log.info("child_started", pid=self._process.pid)

    async def wait_ready(self) -> None:
        """Wait until it serves. Raises ChildFailed when it does not within 30 seconds; `watch` tells whether it ends before."""
        until = asyncio.get_running_loop().time() + _READY_SECONDS
        while not await self._program.ready():
            if asyncio.get_running_loop().time() > until:
                raise ChildFailed(f"{self.name} does not serve after {_READY_SECONDS:.0f} s; see {self._log_file}")
            await asyncio.sleep(_POLL_SECONDS)
        self._served = True

    async def watch(self) -> None:
        """Start it again whenever it ends, until ``end``. Raises ChildFailed when it is given up."""
        loop = asyncio.get_running_loop()
        failures = 0
        while self._process is not None:
            started = loop.time()
            code = await self._process.wait()
            if self._ending:
                return
            self._log.warning("child_ended", code=code)
            failures = 0 if loop.time() - started > _HEALTHY_SECONDS else failures + 1
            # What ends by itself before it ever served will do so again; what was killed was not its own fault.
            hopeless = code == BAD_SETTINGS_EXIT_CODE or (code >= 0 and not self._served)
            if hopeless or failures > _MOST_RESTARTS:
                raise ChildFailed(await self._why())
            self._tell(f"{self.name} ended ({_how(code)}); starting it again")
            await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS)) - 1] if failures else 0)
            if self._ending:
                return
            self.restarts += 1
            await self.start()

    async def end(self, grace: float) -> None:
        """Ask it to end (SIGTERM), wait ``grace`` seconds, then end it (SIGKILL)."""
        self._ending = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(grace):
                await process.wait()
        except TimeoutError:
            self._log.warning("child_killed", grace=grace)
            self._tell(f"{self.name} did not end within {grace:.0f} s and was killed")
            if process.returncode is None:
                process.kill()
            await process.wait()
        await asyncio.to_thread(self._output.finish)

    def _guarded(self) -> list[str]:
        mode = "exec" if sys.platform == "linux" else "watch"
        guard = [sys.executable, "-m", "services.standalone.guard", mode, str(self._lock_file), str(os.getpid())]
        return [*guard, *self._program.command]

    async def _why(self) -> str:
        await asyncio.to_thread(self._output.finish)
        code = self._process.returncode if self._process is not None else None
        said = await asyncio.to_thread(self._output.last_line)
        ended = f"{self.name} ended ({_how(code)})"
        return f"{ended}: {said[:300]}; see {self._log_file}" if said else f"{ended}; see {self._log_file}"


def python(module: str) -> tuple[str, ...]:
    """The command that runs a module in this environment."""
    return (sys.executable, "-m", module)


def _how(code: int | None) -> str:
    if code is None:
        return "no exit code"
    if code == HELD_EXIT_CODE:
        return "an earlier process of it still runs"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
