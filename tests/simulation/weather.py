"""How messages travel: late, not at all, or after their sender gave up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.loop import Process


@dataclass
class Weather:
    """What it is like just now between the processes and one side of the world (the log's servers, or the store's).

    Attributes:
        slowest: seconds a slow message takes at most.
        slow: share of slow messages.
        stuck: seconds that every message to there takes; 0.0: no more than usual.
        lost_out, lost_in: share of messages that never arrive there, and of answers that never come back.
        dark_out, dark_in: names of processes cut off in that direction.
    """

    slowest: float = 0.02
    slow: float = 0.1
    stuck: float = 0.0
    lost_out: float = 0.0
    lost_in: float = 0.0
    dark_out: set[str] = field(default_factory=set)
    dark_in: set[str] = field(default_factory=set)


class Network:
    """The way between the processes and one side of the world.

    Args:
        chance: decides everything.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random) -> None:
        self.loop = loop
        self.chance = chance
        self.weather = Weather()
        self._world = Context()
        self._stuck: list[tuple[str, Callable[..., object], tuple[Any, ...]]] = []

    def delay(self) -> float:
        """How long a message is under way, in seconds."""
        weather, chance = self.weather, self.chance
        if chance.random() < weather.slow:
            return chance.random() * weather.slowest
        return chance.random() * 0.002

    def out(self, process: Process, arrive: Callable[..., object], *args: Any) -> None:
        """Sends something from a process; it may never arrive, or when a cut has ended."""
        weather = self.weather
        if process.name in weather.dark_out:
            self._stuck.append((process.name, arrive, args))
        elif not (weather.lost_out and self.chance.random() < weather.lost_out):
            self.later(weather.stuck or self.delay(), arrive, *args)

    def back(self, process: Process, receive: Callable[..., object], *args: Any, after: float = 0.0) -> float:
        """Sends something to a process, to come after `after`; it may never arrive. Answers when it would."""
        weather = self.weather
        when = max(after + 1e-6, self.loop.time() + self.delay())
        if process.name not in weather.dark_in and not (weather.lost_in and self.chance.random() < weather.lost_in):
            self.loop.call_at(when, receive, *args, context=process.context)
        return when

    def mend(self, name: str) -> None:
        """A cut has ended; some of what was sent meanwhile arrives now."""
        self.weather.dark_out.discard(name)
        self.weather.dark_in.discard(name)
        stuck, self._stuck = self._stuck, []
        for sent in stuck:
            if sent[0] != name:
                self._stuck.append(sent)
            elif self.chance.random() < 0.5:
                self.later(self.delay(), sent[1], *sent[2])

    def later(self, delay: float, step: Callable[..., object], *args: Any) -> None:
        """Something that happens in the world, and in no process."""
        self.loop.call_later(delay, step, *args, context=self._world)
