"""All child processes together: started at once, ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.standalone.child import Child, ChildFailed, Program
from services.standalone.home import Home

_GRACE_SECONDS = 12.0


class Fleet:
    """The children of a standalone: those of a higher stage stand on those of a lower one."""

    def __init__(self, programs: Sequence[Program], home: Home, tell: Callable[[str], None]) -> None:
        """Make a child of each program; ``tell`` gets lines for people."""
        self._home = home
        self._tell = tell
        self._children = [Child(program, home, tell) for program in programs]
        self._watches: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> dict[str, int | None]:
        """Process ids by name; None for one that does not run just now."""
        return {child.name: child.pid for child in self._children}

    @property
    def names(self) -> list[str]:
        """All children's names."""
        return [child.name for child in self._children]

    def child(self, name: str) -> Child:
        """The child of this name. Raises KeyError."""
        for child in self._children:
            if child.name == name:
                return child
        raise KeyError(name)

    @property
    def restarts(self) -> int:
        """How often a child was started again, all together."""
        return sum(child.restarts for child in self._children)

    async def start(self, ready: Callable[[str], None], *, in_turn: bool = False) -> None:
        """Start all, and return when all serve; ``ready`` is told of each. Raises ChildFailed.

        They start at once: each waits by itself for those it needs. With ``in_turn`` a stage begins when the one below it serves, which
        takes less of the machine. One that is killed meanwhile is started again.
        """
        stages = sorted({child.stage for child in self._children}) if in_turn else [None]
        for stage in stages:
            await self._start([child for child in self._children if stage in (None, child.stage)], ready)

    async def add(self, program: Program) -> Child:
        """Start one more, and return when it serves. Raises ChildFailed, ValueError where the name is taken."""
        if program.name in self.names:
            raise ValueError(f"there is a {program.name} already")
        child = Child(program, self._home, self._tell)
        self._children.append(child)
        await self._start([child], lambda _name: None)
        return child

    async def _start(self, children: Sequence[Child], ready: Callable[[str], None]) -> None:
        for child in children:
            await child.start()
            self._watches.append(asyncio.create_task(child.watch(), name=child.name))
        serving = asyncio.create_task(_serving(children, ready))
        failure = asyncio.create_task(self.failure())
        try:
            done, _ = await asyncio.wait((serving, failure), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (serving, failure):
                task.cancel()
            await asyncio.gather(serving, failure, return_exceptions=True)

    async def failure(self) -> None:
        """Wait until a child is given up, and raise ChildFailed."""
        done, _ = await asyncio.wait(self._watches, return_when=asyncio.FIRST_EXCEPTION)
        for watch in done:
            watch.result()

    async def end(self) -> None:
        """End all, bounded in time: those of the highest stage first, what they stand on after them."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for stage in sorted({child.stage for child in self._children}, reverse=True):
            await asyncio.gather(*(child.end(_GRACE_SECONDS) for child in self._children if child.stage == stage))


async def _serving(children: Sequence[Child], ready: Callable[[str], None]) -> None:
    try:
        async with asyncio.TaskGroup() as waits:
            for child in children:
                waits.create_task(_until_ready(child, ready))
    except* ChildFailed as failures:
        raise failures.exceptions[0] from None


async def _until_ready(child: Child, ready: Callable[[str], None]) -> None:
    await child.wait_ready()
    ready(child.name)
