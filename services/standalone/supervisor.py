"""The life of a standalone, single or cluster: start everything, play the journey, serve, drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog

from services.runtime import logs
from services.runtime.signals import told_to_end
from services.runtime.telemetry import Telemetry
from services.standalone import farewell
from services.standalone.config import StandaloneSettings
from services.standalone.fleet import Fleet
from services.standalone.home import Home
from services.standalone.journey.play import Journey
from services.standalone.keys import Keys, write_credentials
from services.standalone.ports import CqlPorts, Ports
from services.standalone.programs import programs
from services.standalone.screen import Screen

_LOG_BYTES = 8 * 1024 * 1024


class _Told(Exception):
    """Somebody asked this process to end."""


class Whole(Protocol):
    """All that is run: one of everything, or a cluster."""

    title: str
    """What starting it is called on the screen."""
    home: Home

    @property
    def ports(self) -> Ports:
        """Where people reach it."""

    @property
    def fleet(self) -> Fleet:
        """Its processes, once it is prepared."""

    def prepare(self) -> None:
        """Write what they read, with nobody of an earlier run in the way; blocks.

        Raises PortTaken, NoBroker, NoEnvoy, NoCassandra, HomeUnusable, OSError, ValueError.
        """

    async def start(self, ready: Callable[[str], None]) -> None:
        """Start all, and return when all serve; ``ready`` is told of each. Raises ChildFailed."""


async def supervise(settings: StandaloneSettings, whole: Whole, screen: Screen, *, once: bool) -> int:
    """Run everything until told to end, or with ``once`` until the journey is played; returns the exit code.

    The folder must be ours already. Raises what ``Whole`` does.
    """
    with told_to_end() as told:
        await asyncio.to_thread(whole.prepare)
        telemetry = await asyncio.to_thread(_telemetry, settings, whole.home)
        journey = Journey(whole.home, telemetry, screen, lambda: whole.fleet.restarts > 0)
        try:
            async with _running(whole, screen, told) as failure:
                code: int = await _first(_serve(journey, whole, screen, once=once), failure, told)
                return code
        except _Told:
            # With --once somebody waits to hear whether every step held.
            return 1 if once else 0
        finally:
            await telemetry.close()


class Single:
    """One of everything."""

    title = "Starting the log server, the services and their partners"

    def __init__(self, settings: StandaloneSettings, home: Home, tell: Callable[[str], None]) -> None:
        """Keep all state in ``home``; ``tell`` gets lines for people."""
        self.home = home
        self.ports = CqlPorts(settings.port) if settings.store == "cql" else Ports(settings.port)
        self._settings = settings
        self._tell = tell
        self._fleet = Fleet((), home, tell)

    @property
    def fleet(self) -> Fleet:
        """Its processes, once it is prepared."""
        return self._fleet

    def prepare(self) -> None:
        """See ``Whole``."""
        secrets = Keys(self.home.keys)
        self.home.end_stale_children()
        self.ports.require_free()
        self.home.prune_traces()
        secrets.ensure()
        write_credentials(self.home.credentials, secrets, self.ports)
        made = programs(self._settings, self.home, secrets, self.ports, self._tell)
        self._fleet = Fleet(made, self.home, self._tell)

    async def start(self, ready: Callable[[str], None]) -> None:
        """See ``Whole``."""
        # Beside a store that takes both cores for seconds, services would be given up before they can begin.
        await self._fleet.start(ready, in_turn=self._settings.store == "cql")


def _telemetry(settings: StandaloneSettings, home: Home) -> Telemetry:
    """Start the journey's tracing; what this process logs goes to a file, as the screen is for people."""
    telemetry = Telemetry.start("journey", settings.model_copy(update={"trace_dir": home.traces, "trace_ratio": 1.0}))
    path = home.logs / "standalone.jsonl"
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_name("standalone.1.jsonl"))
    logs.configure("standalone", settings.log_level, path.open("a", encoding="utf-8", buffering=1))
    return telemetry


@asynccontextmanager
async def _running(whole: Whole, screen: Screen, told: asyncio.Event) -> AsyncIterator[Coroutine[Any, Any, None]]:
    """Start all children, give what waits for their failure, and end them in order, however this is left."""
    try:
        with screen.step(whole.title) as step:
            start = time.monotonic()
            serving: list[str] = []

            def ready(name: str) -> None:
                serving.append(f"{name} {time.monotonic() - start:.1f} s")
                step.shows(" · ".join(serving))

            await _first(whole.start(ready), None, told)
        yield whole.fleet.failure()
    finally:
        screen.say("Draining …", style="dim")
        await whole.fleet.end()
        structlog.get_logger().info("drained")
        screen.say("Drained. All state is kept; start again to go on.", style="dim")


async def _first(main: Coroutine[Any, Any, Any], failure: Coroutine[Any, Any, None] | None, told: asyncio.Event) -> Any:
    """Give what ``main`` returns, unless a child fails for good first (its exception) or this process is told to end (_Told)."""
    tasks = [asyncio.create_task(main), asyncio.create_task(told.wait())]
    if failure is not None:
        tasks.append(asyncio.create_task(failure))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task is tasks[1]:
                raise _Told
            return task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(journey: Journey, whole: Whole, screen: Screen, *, once: bool) -> int:
    code = 0 if await journey.play() else 1
    if not once:
        farewell.show(screen, whole.home, whole.ports, journey)
        await asyncio.Event().wait()
    return code
