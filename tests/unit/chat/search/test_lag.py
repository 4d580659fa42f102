"""How far an index is behind, by what its reader was handed."""

from __future__ import annotations

import time

from services.chat.search.lag import Lag


def seconds(lag: Lag) -> float:
    found = lag.seconds
    assert found is not None
    return found


def test_who_does_not_follow_tells_nothing() -> None:
    lag = Lag()
    assert (lag.entries, lag.seconds) == (None, None)
    lag.begin(2)
    assert (lag.entries, lag.seconds) == (0, 0.0)
    lag.end()
    assert (lag.entries, lag.seconds) == (None, None)


def test_what_is_in_hand_and_what_waits_is_behind_until_it_is_done() -> None:
    lag, now = Lag(), time.time()
    lag.begin(2)
    lag.taken(0, 500, 700, now - 60)
    lag.taken(1, 3, 0, now - 5)
    assert lag.entries == 1203
    assert 60 <= seconds(lag) < 70
    lag.done(0, now - 30)
    assert lag.entries == 703
    assert 30 <= seconds(lag) < 40  # what waits came after the last of these
    lag.taken(0, 700, 0, now - 29)
    lag.done(0, now - 1)
    assert lag.entries == 3
    assert 5 <= seconds(lag) < 15
    lag.done(1, now)
    assert (lag.entries, lag.seconds) == (0, 0.0)


def test_entries_of_the_store_have_no_time_and_count_from_when_they_were_read() -> None:
    lag, now = Lag(), time.time()
    lag.begin(1)
    lag.taken(0, 200, 1, 0.0)
    lag.done(0, 0.0)
    lag.taken(0, 10, 0, 0.0)
    assert lag.entries == 10
    assert 0 <= seconds(lag) <= time.time() - now
