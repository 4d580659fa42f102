"""What a drill has in hand while the load runs: the stage, a seed, a clock for faults, and words for what must hold besides."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from tests.drills.links import Links
from tests.drills.processes import resident_bytes
from tests.drills.records import Fault, Recorder
from tests.drills.stage import Stage


@dataclass
class Play:
    """One run of one drill.

    Attributes:
        seconds: how long faults go on.
        figures: what the drill measured besides, for the report.
        broken: promises besides the checker's that did not hold.
    """

    stage: Stage
    recorder: Recorder
    rng: random.Random
    seconds: float
    figures: dict[str, float | int | str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    began: float = 0.0

    @asynccontextmanager
    async def fault(self, what: str, part: str, *, outage: bool = False) -> AsyncIterator[None]:
        """Records a fault from here to the end of the block."""
        start = self.recorder.now()
        try:
            yield
        finally:
            self.recorder.add(Fault(what, part, start, self.recorder.now(), outage))

    def expect(self, holds: bool, promise: str) -> None:
        """Notes a broken promise."""
        if not holds:
            self.broken.append(promise)

    @property
    def links(self) -> Links:
        """What stands between processes and servers, where the stage was asked for it."""
        return self.stage.links

    def begin(self) -> None:
        """From now on it counts."""
        self.began = self.recorder.now()

    def weigh(self) -> None:
        """Notes the most memory any process of a service has held so far: what waits must be bounded."""
        for service in self.stage.services:
            for part in self.stage.parts(service):
                mib = round(resident_bytes(self.stage.pid(part)) / 2**20)
                self.figures["largest process, MiB"] = max(mib, int(self.figures.get("largest process, MiB", 0)))

    def left(self) -> float:
        """Seconds until the faults should end."""
        return self.began + self.seconds - self.recorder.now()

    def order(self, part: str, line: str) -> None:
        """Gives an order to the hand inside a service's process; see `inside/sitecustomize.py`."""
        file = self.stage.folder / "orders" / part
        file.parent.mkdir(exist_ok=True)
        with file.open("a", encoding="utf-8") as orders:
            orders.write(line + "\n")

    async def wait(self, shortest: float, longest: float) -> None:
        """A pause by the seed."""
        await asyncio.sleep(self.rng.uniform(shortest, longest))

    async def more(self, acknowledged: int, within: float) -> bool:
        """Waits for so many further acknowledged calls; False where they do not come in time."""
        wanted = self.recorder.acknowledged + acknowledged
        return await self.until(lambda: self.recorder.acknowledged >= wanted, within)

    async def until(self, holds: Callable[[], bool], within: float) -> bool:
        """Waits until something holds; False where it does not in time."""
        return await eventually(_awaited(holds), within)

    async def refuses(self, seconds: float) -> None:
        """Notes a broken promise where a write of any service is acknowledged from a moment after now on, so many seconds long.

        Answers that are on their way already are given two seconds.
        """
        await asyncio.sleep(2.0)
        before = self.recorder.acknowledged
        await asyncio.sleep(seconds)
        self.expect(self.recorder.acknowledged == before, "nothing is acknowledged while an operator must act")

    async def recover_log(self) -> None:
        """The operator's command, for each service; measures how long it takes."""
        await self.operate("recover-log took, s", lambda service: ("recover-log",))

    async def operate(self, what: str, arguments: Callable[[str], tuple[str, ...]]) -> None:
        """An operator's command for every service at once; measures how long it takes."""
        start = self.recorder.now()
        commands = [self.stage.operate(*arguments(service), "--service", service) for service in self.stage.services]
        await asyncio.gather(*commands)
        self.figures[what] = round(self.recorder.now() - start, 1)

    async def revive(self, part: str) -> None:
        """Starts a part again and waits until it serves."""
        await self.stage.start(part)
        await self.stage.serving(part)


def _awaited(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return holds()

    return ask


async def eventually(holds: Callable[[], Awaitable[bool]], within: float) -> bool:
    """Asks until it holds; False where it does not in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within
    while True:
        try:
            if await holds():
                return True
        except grpc.aio.AioRpcError:
            pass  # not yet: what is asked is not back
        if loop.time() > until:
            return False
        await asyncio.sleep(0.05)
