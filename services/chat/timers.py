"""Chat's timers: who is woken when one is due, by the kind of aggregate that waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog

from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

Wake = Callable[[AggregateId, str], Awaitable[None]]
"""Does what is due: (aggregate, the timer's name). At least once; harmless when there is nothing to do."""
_log = structlog.get_logger(__name__)


class TimerWorker:
    """Hands due timers to whom they concern."""

    def __init__(self, ledger: Ledger, wakes: Mapping[str, Wake]) -> None:
        """Wake by kind of aggregate."""
        self._ledger = ledger
        self._wakes = wakes

    def start(self) -> None:
        """Begin to take due timers, together with all other Chat processes."""
        self._ledger.on_timer(self.due)

    async def due(self, aggregate: AggregateId, name: str) -> None:
        """Take a due timer. Raises what its work raises; the timer then comes again."""
        wake = self._wakes.get(aggregate.kind)
        if wake is None:  # of a release that knew more kinds
            _log.warning("timer_of_unknown_kind", kind=aggregate.kind, timer=name)
            return
        await wake(aggregate, name)
