"""Chat's timers: who is woken when one is due, by the kind of aggregate that waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from opentelemetry.metrics import Histogram, Meter, NoOpMeter

from services.chat import commands, metrics
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

Wake = Callable[[AggregateId, str], Awaitable[None]]
"""Does what is due: (aggregate, the timer's name). At least once; harmless when there is nothing to do."""
Dues = Callable[[Any], Mapping[str, int]]
"""Gives what a state waits for: timers by name, and when each is due, µs since the Unix epoch."""
_log = structlog.get_logger(__name__)


class TimerWorker:
    """Hands due timers to whom they concern."""

    def __init__(self, ledger: Ledger, wakes: Mapping[str, Wake], dues: Mapping[str, Dues], meter: Meter) -> None:
        """Wake by kind of aggregate; ``dues`` gives by kind what a state waits for, and ``meter`` takes how late it is woken."""
        self._ledger = ledger
        self._wakes = wakes
        self._dues = dues
        self._late = None if isinstance(meter, NoOpMeter) else metrics.late(meter)

    def start(self) -> None:
        """Begin to take due timers, together with all other Chat processes."""
        self._ledger.on_timer(self.due)

    async def due(self, aggregate: AggregateId, name: str) -> None:
        """Take a due timer. Raises what its work raises; the timer then comes again."""
        wake = self._wakes.get(aggregate.kind)
        if wake is None:  # of a release that knew more kinds
            _log.warning("timer_of_unknown_kind", kind=aggregate.kind, timer=name)
            return
        if self._late is not None:
            await self._measure(self._late, aggregate, name)
        await wake(aggregate, name)

    async def _measure(self, late: Histogram, aggregate: AggregateId, name: str) -> None:
        state = (await self._ledger.read(aggregate, fresh=False)).state
        due_us, now = self._dues[aggregate.kind](state).get(name, 0), commands.now_us()
        if 0 < due_us <= now:  # else it is early, or comes again
            late.record((now - due_us) / 1e6, {"kind": aggregate.kind})
