"""What an event adds to which rows. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tradewind.mail.v1 import mail_pb2, mail_service_pb2
from tradewind.mail.v1.mail_stats_pb2 import MailStatsRow

TENANT: Final = mail_service_pb2.STATS_DIMENSION_TENANT
STREAM: Final = mail_service_pb2.STATS_DIMENSION_STREAM
CAMPAIGN: Final = mail_service_pb2.STATS_DIMENSION_CAMPAIGN
TEMPLATE: Final = mail_service_pb2.STATS_DIMENSION_TEMPLATE
DOMAIN: Final = mail_service_pb2.STATS_DIMENSION_DOMAIN

SECONDS: Final = {
    mail_service_pb2.STATS_PERIOD_MINUTE: 60,
    mail_service_pb2.STATS_PERIOD_HOUR: 3600,
    mail_service_pb2.STATS_PERIOD_DAY: 86_400,
}
KEPT: Final = {
    mail_service_pb2.STATS_PERIOD_MINUTE: 48 * 3600,
    mail_service_pb2.STATS_PERIOD_HOUR: 60 * 86_400,
}
"""For so many seconds the counts of a period are kept; days for ever."""
WIDE: Final = frozenset({CAMPAIGN, DOMAIN})
"""Dimensions with any number of values."""
SLOTS: Final = 16
"""Into so many partitions the values of a wide dimension are spread."""
_TOGETHER: Final = {
    mail_service_pb2.STATS_PERIOD_MINUTE: (3600, 600),
    mail_service_pb2.STATS_PERIOD_HOUR: (86_400, 21_600),
    mail_service_pb2.STATS_PERIOD_DAY: (32 * 86_400, 4 * 86_400),
}
"""So many seconds' periods stand in one partition of the store: of a narrow dimension, of a wide one. docs/store.md has the arithmetic."""
COUNTS: Final = (
    "queued",
    "attempts",
    "delivered",
    "deferred",
    "bounced",
    "expired",
    "outcome_unknown",
    "opens",
    "unique_opens",
)
_INDEX: Final = {
    "queued": 0,
    "attempt_started": 1,
    "delivered": 2,
    "deferred": 3,
    "bounced": 4,
    "expired": 5,
    "outcome_unknown": 6,
    "opened": 7,
}
_FIRST_OPEN: Final = 8
_STREAMS: Final = {mail_pb2.MAIL_STREAM_TRANSACTIONAL: "transactional", mail_pb2.MAIL_STREAM_BULK: "bulk"}


@dataclass(frozen=True, slots=True)
class Place:
    """Which row of one partition: whose, by what, which value, which period, from when (seconds since the epoch)."""

    tenant: str
    dimension: int
    value: str
    period: int
    start: int


def partition_key(place: Place) -> str:
    """Name what is kept together with a row."""
    stretch = stretch_of(place.dimension, place.period, place.start)
    return _partition(place.tenant, place.dimension, place.period, stretch.start, slot_of(place.dimension, place.value))


def partition_keys(tenant: str, dimension: int, period: int, stretch: range, value: str = "") -> list[str]:
    """Name all partitions of a stretch of time, or the one that holds a value."""
    slots = range(SLOTS if dimension in WIDE else 1)
    if value:
        slots = range(slot_of(dimension, value), slot_of(dimension, value) + 1)
    return [_partition(tenant, dimension, period, stretch.start, slot) for slot in slots]


def stretch_of(dimension: int, period: int, start: int) -> range:
    """Give the seconds whose rows are kept together with those of a period that begins at ``start``."""
    seconds = _TOGETHER[mail_service_pb2.StatsPeriod.ValueType(period)][dimension in WIDE]
    first = start - start % seconds
    return range(first, first + seconds)


def slot_of(dimension: int, value: str) -> int:
    """Give where among a stretch's partitions a value stands."""
    return zlib.crc32(value.encode()) % SLOTS if dimension in WIDE else 0


def is_kept(period: int, start: int, now: int) -> bool:
    """Tell whether the counts of a period are still kept."""
    kept = KEPT.get(mail_service_pb2.StatsPeriod.ValueType(period))
    return kept is None or start >= now - kept


def _partition(tenant: str, dimension: int, period: int, first: int, slot: int) -> str:
    return f"{tenant}/{dimension}/{period}/{first}/{slot}"


def row_key(start: int, partition: int = 0, value: str = "") -> str:
    """Name a row; rows sort by the beginning of their period."""
    return f"{start:011d}/{partition:03d}/{value}"


def indexes(event: mail_pb2.MailEvent) -> tuple[int, ...]:
    """Give which counts an event adds one to."""
    index = _INDEX.get(event.WhichOneof("event") or "")
    if index is None:
        return ()
    return (index, _FIRST_OPEN) if event.HasField("opened") and event.opened.first else (index,)


def places(tenant: str, event: mail_pb2.MailEvent) -> Iterator[Place]:
    """Give the rows an event counts in; a mail without campaign or template counts in no row of theirs."""
    labels, at = event.labels, event.event_time.seconds
    values = (
        (TENANT, ""),
        (STREAM, _STREAMS.get(labels.stream, "transactional")),
        (CAMPAIGN, labels.campaign or None),
        (TEMPLATE, labels.template or None),
        (DOMAIN, labels.domain or None),
    )
    for dimension, value in values:
        if value is not None:
            for period, seconds in SECONDS.items():
                yield Place(tenant, dimension, value, period, at - at % seconds)


def to_row(place: Place, partition: int, counts: list[int], seq: int) -> MailStatsRow:
    """Write a row."""
    row = MailStatsRow(partition=partition, seq=seq)
    stats = row.stats
    stats.dimension = place.dimension  # type: ignore[assignment]
    stats.value = place.value
    stats.period = place.period  # type: ignore[assignment]
    stats.period_start.seconds = place.start
    for name, count in zip(COUNTS, counts, strict=True):
        setattr(stats, name, count)
    return row


def counts_of(stats: mail_service_pb2.MailStats) -> list[int]:
    """Read a row's counts."""
    return [int(getattr(stats, name)) for name in COUNTS]


def add(total: mail_service_pb2.MailStats, part: mail_service_pb2.MailStats) -> None:
    """Add the counts of one partition's row to the sum of all."""
    for name in COUNTS:
        setattr(total, name, getattr(total, name) + getattr(part, name))
