"""How often each limit said no, as a metric."""

from __future__ import annotations

from opentelemetry.metrics import Meter


class Refusals:
    """Counts what was refused, or slowed on a stream, by the name of the limit."""

    def __init__(self, meter: Meter) -> None:
        """Count with ``meter``."""
        self._counter = meter.create_counter(
            "tradewind.limits.refused",
            description="Calls refused, and stream frames made to wait, by the limit that did it",
        )

    def count(self, limit: str) -> None:
        """Count one."""
        self._counter.add(1, {"limit": limit})
