"""How the hooks of tenants answer, as metrics."""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import Meter

_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class HookMeter:
    """Counts what became of messages that a hook was to look at, of all tenants together."""

    def __init__(self, meter: Meter) -> None:
        """Count with ``meter``."""
        self._duration = meter.create_histogram(
            "tradewind.hook.duration",
            unit="s",
            description="Time a tenant's message hook was asked for, by outcome: accepted, changed, refused, late, failed",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )
        self._unasked = meter.create_counter(
            "tradewind.hook.unasked",
            description="Messages that a hook was not asked about: crowded (no place in time), or paused after failures",
        )

    def asked(self, outcome: str, seconds: float) -> None:
        """Note what came of asking."""
        self._duration.record(seconds, {"outcome": outcome})

    def unasked(self, reason: str) -> None:
        """Note that nobody was asked."""
        self._unasked.add(1, {"reason": reason})
