"""One child process: started, watched, started again when it dies, ended in bounded time."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from services.standalone.guard import HELD_EXIT_CODE
from services.standalone.home import Home
from services.standalone.lock import holder_of
from services.standalone.output import Output
from services.standalone.process import Process
from services.standalone.ready import Probe

BAD_SETTINGS_EXIT_CODE = 2

START_AGAIN_EXIT_CODE = 4
"""A child that ends so has nothing to mend: what it remembers no longer counts, and it wants to begin anew."""

_READY_SECONDS = 30.0
_AT_ONCE_AFTER_SECONDS = 1.0
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
    ports: Mapping[str, int] = field(default_factory=dict)
    """Where it listens on this machine, by the name of what it serves there."""
    folder: Path | None = None
    """The data that it alone owns."""
    ready_seconds: float = _READY_SECONDS
    """So long it may take until it serves."""
    patient: bool = False
    """Once it served it is never given up, however often it ends: others of its kind go on meanwhile."""


class Child:
    """A program under watch.

    Its end is noticed at once, told through ``tell``, and answered by a new start after a pause that grows with each
    failure; after 20 starts none of which served for half a minute it is given up, and at once where it ended by itself
    before it ever served. One that ends with code 4 is started again at once. What `stop` or `kill(restart=False)` ended rests until
    `start`.
    """

    def __init__(self, program: Program, home: Home, tell: Callable[[str], None]) -> None:
        """Run ``program`` for the standalone of ``home``; ``tell`` gets a line for people when something happens."""
        self.name = program.name
        self.stage = program.stage
        self.restarts = 0
        """How often it was started again by itself."""
        self.environment: dict[str, str] = {}
        """Variables on top of the program's own, from the next start on."""
        self._program = program
        self._tell = tell
        self._lock_file = home.run / f"{program.name}.lock"
        self._log_file = home.logs / f"{program.name}{program.log_suffix}"
        self._output = Output(self._log_file)
        self._process: Process | None = None
        self._ending = False
        self._resting = False
        self._woken = asyncio.Event()
        self._held: int | None = None
        self._served = False
        self._log = structlog.get_logger(child=program.name)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def ports(self) -> Mapping[str, int]:
        """Where it listens, by the name of what it serves there."""
        return self._program.ports

    @property
    def folder(self) -> Path | None:
        """The data that it alone owns."""
        return self._program.folder

    async def start(self) -> None:
        """Start it, without waiting for it to serve; nothing where it runs. What rested is watched over again."""
        if self.pid is not None:
            return
        writing = self._output.begin()
        environment = {**os.environ, **self._program.environment, **self.environment}
        try:
            self._process = Process(self._guarded(), writing, environment)
        finally:
            os.close(writing)
        self._log.info("child_started", pid=self._process.pid)
        self._resting = False
        self._woken.set()

    async def wait_ready(self) -> None:
        """Wait until it serves. Raises ChildFailed when it does not within its time; `watch` tells whether it ends before."""
        seconds = self._program.ready_seconds
        until = asyncio.get_running_loop().time() + seconds
        while not await self._program.ready():
            if asyncio.get_running_loop().time() > until:
                raise ChildFailed(f"{self.name} does not serve after {seconds:.0f} s; see {self._log_file}")
            await asyncio.sleep(_POLL_SECONDS)
        self._served = True

    async def watch(self) -> None:
        """Start it again whenever it ends, until ``end``. Raises ChildFailed when it is given up."""
        loop = asyncio.get_running_loop()
        failures = 0
        while (process := self._process) is not None:
            started = loop.time()
            code = await process.wait()
            if self._ending:
                return
            if self._resting:
                await self._woken.wait()
                failures = 0
                continue
            self._log.warning("child_ended", code=code)
            lasted = loop.time() - started
            failures = 0 if lasted > _HEALTHY_SECONDS else failures + 1
            if self._is_hopeless(code, failures):
                raise ChildFailed(await self._why())
            # What was killed has nothing to say of it.
            ended = await self._why() if code > 0 else f"{self.name} ended ({_how(code)})"
            self._tell(f"{ended}; starting it again")
            at_once = not failures or (code == START_AGAIN_EXIT_CODE and lasted > _AT_ONCE_AFTER_SECONDS)
            await asyncio.sleep(0 if at_once else _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS)) - 1])
            if self._ending:
                return
            if self._resting or self._process is not process:
                continue
            self.restarts += 1
            await self.start()

    def _is_hopeless(self, code: int, failures: int) -> bool:
        # What ends by itself before it ever served will do so again; what was killed was not its own fault.
        if code == BAD_SETTINGS_EXIT_CODE or (code >= 0 and code != START_AGAIN_EXIT_CODE and not self._served):
            return True
        return failures > _MOST_RESTARTS and not (self._program.patient and self._served)

    async def kill(self, *, restart: bool = True) -> None:
        """End it as a crash would (SIGKILL), and wait until it is gone; without ``restart`` it rests then."""
        self._rest(not restart)
        await self._end_by(self._kill)

    async def stop(self, grace: float = 12.0) -> None:
        """Ask it to end (SIGTERM), end it (SIGKILL) after ``grace`` seconds, and let it rest until ``start``."""
        self._rest(True)
        await self._end_in_order(grace)

    def pause(self) -> None:
        """Hold it in the middle of whatever it does (SIGSTOP). POSIX only; nothing where it does not run."""
        self._held = self.pid
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    async def wipe(self) -> None:
        """Delete all it keeps in its folder, which stays. Raises RuntimeError while it runs, OSError."""
        if self.pid is not None:
            raise RuntimeError(f"{self.name} runs")
        if self.folder is not None:
            await asyncio.to_thread(_empty, self.folder)

    def _rest(self, resting: bool) -> None:
        self._resting = resting
        if resting:
            self._woken.clear()

    def _signal(self, number: int) -> None:
        # Where a guard stands before it (not on Linux, where the guard becomes it), the program is who holds the lock.
        if self.pid is not None:
            behind = None if sys.platform == "linux" else holder_of(self._lock_file)
            os.kill(behind or self.pid, number)

    def _kill(self) -> None:
        if sys.platform == "win32":
            if self._process is not None:
                self._process.kill()
        else:
            self._signal(signal.SIGKILL)

    async def _end_by(self, act: Callable[[], None]) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            act()
        except ProcessLookupError:
            self._log.info("child_was_gone")
        await process.wait()

    async def end(self, grace: float) -> None:
        """Ask it to end (SIGTERM), wait ``grace`` seconds, then end it (SIGKILL); nobody starts it again."""
        self._ending = True
        await self._end_in_order(grace)

    async def _end_in_order(self, grace: float) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        if self._held == process.pid:
            self.resume()  # it would not hear it
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


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _how(code: int | None) -> str:
    if code is None:
        return "no exit code"
    if code == HELD_EXIT_CODE:
        return "an earlier process of it still runs"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
