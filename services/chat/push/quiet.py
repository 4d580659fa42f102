"""Quiet hours: when they end, by the clock on the user's wall, also on days that are an hour shorter or longer. Pure rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAY: Final = 24 * 60
_MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class Quiet:
    """Quiet from a minute of the day until before another, in a time zone of the IANA database; the same minute twice: never."""

    start_minute: int
    end_minute: int
    time_zone: str


def is_zone(name: str) -> bool:
    """Tell whether a time zone is known."""
    return _zone(name) is not None


def until_us(quiet: Quiet, at_us: int) -> int:
    """Give when the quiet hours end that a time lies in (µs since the Unix epoch); 0 where it lies in none.

    A zone that is known no longer has no quiet hours.
    """
    zone = _zone(quiet.time_zone)
    if zone is None or quiet.start_minute == quiet.end_minute:
        return 0
    # Whole minutes are what quiet hours are made of, and so are the offsets of all zones nowadays.
    minute = datetime.fromtimestamp(at_us // _MINUTE_US * 60, UTC)
    if not _is_quiet(quiet, minute, zone):
        return 0
    while True:
        wall = _wall(minute, zone)
        then = minute + timedelta(minutes=(quiet.end_minute - wall) % _DAY)
        if _offset(then, zone) == _offset(minute, zone):
            minute = then
        else:
            # The clock is set before the hour has come: what it then shows decides.
            minute = _set(minute, then, zone)
        if not _is_quiet(quiet, minute, zone):
            return int(minute.timestamp()) * 1_000_000


def _set(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Give the first minute at which the offset is not the one before."""
    offset = _offset(before, zone)
    low, high = 0, int((after - before) / timedelta(minutes=1))
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(before + timedelta(minutes=middle), zone) == offset:
            low = middle
        else:
            high = middle
    return before + timedelta(minutes=high)


def _is_quiet(quiet: Quiet, at: datetime, zone: ZoneInfo) -> bool:
    wall = _wall(at, zone)
    if quiet.start_minute < quiet.end_minute:
        return quiet.start_minute <= wall < quiet.end_minute
    return wall >= quiet.start_minute or wall < quiet.end_minute


def _wall(at: datetime, zone: ZoneInfo) -> int:
    local = at.astimezone(zone)
    return local.hour * 60 + local.minute


def _offset(at: datetime, zone: ZoneInfo) -> timedelta | None:
    return at.astimezone(zone).utcoffset()


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # not there, no name at all, or a folder of zones
        return None
