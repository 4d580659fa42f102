"""What the parts of a Chat process count, shown to whoever exports it.

The parts keep plain numbers, which are read when they are exported, on the exporter's thread; only what has a distribution is recorded
as it happens. No label names a user, a tenant or a conversation. docs/operations.md lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from services.chat.attachments.collector import Collector
from services.chat.attachments.transfers import Transfers
from services.chat.presence.service import PresenceService
from services.chat.push.worker import PushWorker
from services.chat.search.lag import Lag
from services.chat.whispers import Whispers

LATE_BOUNDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Of how late something is done, in seconds."""


def presence(meter: Meter, parts: PresenceService, whispers: Whispers) -> None:
    """Show who is there and is watched here, and what the processes say to each other."""
    roster = parts.roster
    _gauge(meter, "tradewind.presence.people", "Users online or away that this process speaks for", lambda: roster.here)
    watched = "Users whose presence streams of this process watch, counted once a stream"
    _gauge(meter, "tradewind.presence.watched", watched, lambda: roster.watching)
    typing = "Conversations in which streams of this process watch who types, counted once a stream"
    _gauge(meter, "tradewind.typing.watched", typing, lambda: parts.typing_watched)
    words = "Words between processes: said, heard, lost as NATS could not take them, dropped as this process was behind"
    _counter(meter, "tradewind.whispers", words, "outcome", lambda: whispers.counts)


def search(meter: Meter, lag: Lag) -> None:
    """Show how far the index is behind the log; of the one process that leads it."""
    behind = "Entries of the log that the search index does not hold yet"
    _gauge(meter, "tradewind.search.behind", behind, lambda: lag.entries)
    seconds = "Age of the oldest entry of the log that the search index does not hold yet"
    _gauge(meter, "tradewind.search.lag", seconds, lambda: lag.seconds, unit="s")


def push(meter: Meter, worker: PushWorker) -> None:
    """Show what rounds came to, and how many wait; what became of notifications is counted by the gateway."""
    rounds = "Rounds carried out: over, or failed as not everybody was told; those come again"
    _counter(meter, "tradewind.push.rounds", rounds, "outcome", lambda: worker.rounds)
    queued = "Conversations whose round is due, as far as this process knows"
    _gauge(meter, "tradewind.push.queued", queued, lambda: worker.queued)


def attachments(meter: Meter, transfers: Iterable[Transfers], collector: Collector) -> None:
    """Show what is moved, and what nobody needed any more."""
    all_of = tuple(transfers)

    def moved() -> Mapping[str, int]:
        return {"up": sum(each.up for each in all_of), "down": sum(each.down for each in all_of)}

    _counter(meter, "tradewind.attachments.bytes", "Bytes of attachments moved", "direction", moved, unit="By")
    under_way = "Uploads and downloads under way"
    _gauge(meter, "tradewind.attachments.transfers", under_way, lambda: sum(each.under_way for each in all_of))
    steps = "Steps of the collection of attachments that no message names; delete: collected"
    _counter(meter, "tradewind.attachments.collected", steps, "step", lambda: collector.steps)


def late(meter: Meter) -> Histogram:
    """Make what tells how late timers are woken, by kind of aggregate."""
    return meter.create_histogram(
        "tradewind.timers.late",
        unit="s",
        description="Time from when a timer was due until it was woken, by the kind of what waited for it",
        explicit_bucket_boundaries_advisory=LATE_BOUNDS,
    )


def _gauge(meter: Meter, name: str, description: str, read: Callable[[], float | None], *, unit: str = "") -> None:
    def observed(_options: CallbackOptions) -> Iterable[Observation]:
        value = read()
        return () if value is None else (Observation(value),)

    meter.create_observable_gauge(name, [observed], unit=unit, description=description)


def _counter(
    meter: Meter, name: str, description: str, label: str, read: Callable[[], Mapping[str, int]], *, unit: str = ""
) -> None:
    def observed(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {label: which}) for which, count in dict(read()).items()]

    meter.create_observable_counter(name, [observed], unit=unit, description=description)
