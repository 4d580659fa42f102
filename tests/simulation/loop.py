"""An event loop whose time jumps to the next timer, and simulated processes that share it and can be killed and held."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)
"""Whose a task or a callback is; None: the world's own."""
_SWEEP_TASKS = 64


class Stuck(Exception):
    """Nothing can happen any more, or far too much happens."""


class Process:
    """A simulated operating-system process: what its tasks do stops when it is killed, and waits while it is held.

    Attributes:
        name: what the trace calls it.
        alive: False once killed; what it still does reaches nobody.
        context: where its tasks run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.held: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self._loop = loop
        self.context = Context()
        self.context.run(PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Starts a task of this process."""
        return self._loop.create_task(work, name=name, context=self.context)

    def soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Calls something in this process, as soon as it runs."""
        self._loop.call_soon(callback, *args, context=self.context)

    def pause(self) -> None:
        """Holds it, as SIGSTOP does: the clocks go on."""
        self.paused = True

    def resume(self) -> None:
        """Lets it go on where it was."""
        self.paused = False
        held, self.held = self.held, deque()
        if held:
            assert isinstance(self._loop, VirtualLoop)
            self._loop.take_back(held)

    def kill(self) -> None:
        """Ends it, as SIGKILL does. Its tasks unwind, and no port does anything for them any more."""
        self.alive = False
        self.resume()
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            if not task.done():
                task.cancel()

    def gone(self) -> bool:
        """True: nothing of it is left."""
        return all(task.done() for task in self.tasks)


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without a machine below it: no sockets, no threads, and time that costs nothing.

    Attributes:
        now: seconds since its beginning.
        steps: callbacks run so far.
    """

    def __init__(self, most_steps: int) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self._most_steps = most_steps
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbered = 0
        self.errors: list[str] = []
        self.set_task_factory(_make_task)  # type: ignore[arg-type]
        self.set_exception_handler(_note_error)

    def allow(self, steps: int) -> None:
        """So many more callbacks."""
        self._most_steps = self.steps + steps

    def time(self) -> float:
        """See `asyncio.AbstractEventLoop.time`."""
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """See `asyncio.AbstractEventLoop.call_soon`."""
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop.call_at`."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._numbered += 1
        heapq.heappush(self._timers, (when, self._numbered, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop.call_later`."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def take_back(self, held: deque[asyncio.Handle]) -> None:
        """What a process was held from doing is done now, in its order."""
        self._soon.extend(held)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: it is passed over when its time comes."""

    def _run_once(self) -> None:
        soon = self._soon
        if not soon:
            self._advance()
        handle = soon.popleft()
        if handle._cancelled:
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None and process.paused:
            process.held.append(handle)
            return
        self.steps += 1
        if self.steps > self._most_steps:
            raise Stuck(f"more than {self._most_steps} steps")
        handle._run()

    def _advance(self) -> None:
        while self._timers:
            when, _, timer = heapq.heappop(self._timers)
            if not timer._cancelled:
                self.now = max(self.now, when)
                self._soon.append(timer)
                return
        raise Stuck("nothing will ever happen again")

    def _process_events(self, _events: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        raise Stuck("a thread in a simulation")


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: Context | None = None
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    process = context.get(PROCESS) if context is not None else PROCESS.get()
    if process is not None:
        process.tasks.append(task)
        if not process.alive:
            task.cancel()
        if len(process.tasks) > _SWEEP_TASKS:
            process.tasks = [known for known in process.tasks if not known.done()]
    return task


def _note_error(loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    error = what.get("exception")
    loop.errors.append(f"{what.get('message')}: {error!r}")
