"""Quiet hours end when the clock on the wall says so, also on days that are an hour shorter or longer."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.chat.push.quiet import Quiet, is_zone, until_us

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "UTC",
    "America/Sao_Paulo",
]


def us(text: str) -> int:
    """A time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def wall_minute(at_us: int, zone: str) -> int:
    local = datetime.fromtimestamp(at_us // 1_000_000, ZoneInfo(zone))
    return local.hour * 60 + local.minute


def is_quiet(quiet: Quiet, at_us: int) -> bool:
    """What quiet hours mean, said in the simplest way."""
    length = (quiet.end_minute - quiet.start_minute) % 1440
    return (wall_minute(at_us, quiet.time_zone) - quiet.start_minute) % 1440 < length


def naive_end(quiet: Quiet, at_us: int) -> int:
    """Look at every minute, until one is not quiet."""
    if not is_quiet(quiet, at_us):
        return 0
    minute = at_us // 60_000_000 * 60_000_000
    while is_quiet(quiet, minute):
        minute += 60_000_000
    return minute


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-01-10 21:29", None),
        ("2026-01-10 21:30", "2026-01-11 06:00"),
        ("2026-01-11 05:59", "2026-01-11 06:00"),
        ("2026-01-11 06:00", None),
        ("2026-03-28 23:00", "2026-03-29 05:00"),  # the night that is an hour shorter
        ("2026-10-24 22:00", "2026-10-25 06:00"),  # the night that is an hour longer
    ],
)
def test_nights_in_berlin(now: str, end: str | None) -> None:
    quiet = Quiet(22 * 60 + 30, 7 * 60, "Europe/Berlin")
    assert until_us(quiet, us(now)) == (us(end) if end else 0)


def test_an_end_that_the_clock_leaps_over() -> None:
    """On 29 March 2026 there is no half past two in Berlin."""
    assert until_us(Quiet(60, 150, "Europe/Berlin"), us("2026-03-29 00:30")) == us("2026-03-29 01:00")


def test_an_end_that_comes_twice() -> None:
    """On 25 October 2026 half past two comes twice in Berlin: it is quiet again for the half hour before the second."""
    quiet = Quiet(60, 150, "Europe/Berlin")
    assert until_us(quiet, us("2026-10-25 00:10")) == us("2026-10-25 00:30")
    assert until_us(quiet, us("2026-10-25 01:10")) == us("2026-10-25 01:30")


def test_no_zone_and_no_hours_are_never_quiet() -> None:
    assert until_us(Quiet(0, 1439, "Nowhere/At_All"), us("2026-01-01 12:00")) == 0
    assert until_us(Quiet(5, 5, "UTC"), us("2026-01-01 00:05")) == 0
    assert [is_zone(name) for name in ("Europe/Berlin", "UTC", "Europe", "../etc/passwd", "", "Mars/Olympus")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.integers(us("2025-01-01 00:00"), us("2027-12-31 00:00")),
)
@example("Australia/Lord_Howe", 60, 120, us("2026-04-04 14:10"))
@example("Europe/Berlin", 100, 170, us("2026-03-29 00:45"))
@example("Europe/Berlin", 100, 170, us("2026-10-25 00:45"))
def test_as_if_every_minute_were_looked_at(zone: str, start: int, end: int, at: int) -> None:
    quiet = Quiet(start, end, zone)
    assert until_us(quiet, at) == naive_end(quiet, at)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe"]),
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.integers(0, 48 * 60),
)
def test_around_the_changes_of_the_clock(zone: str, start: int, end: int, minutes: int) -> None:
    changes = {
        "Europe/Berlin": ("2026-03-28 00:00", "2026-10-24 00:00"),
        "Australia/Lord_Howe": ("2026-04-03 12:00", "2026-10-02 12:00"),
    }
    at = us(changes[zone][minutes % 2]) + minutes * 60_000_000
    quiet = Quiet(start, end, zone)
    assert until_us(quiet, at) == naive_end(quiet, at)
