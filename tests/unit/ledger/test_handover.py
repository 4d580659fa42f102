"""Whose turn it is among those who write one aggregate at the same time."""

from services.ledger.handover import _Other, _Ring


def ring(last: str, at: float = 100.0, **patience: float) -> _Ring:
    made = _Ring()
    made.last, made.at = last, at
    made.heard = {writer: _Other(at, seconds, wants=True) for writer, seconds in patience.items()}
    return made


def test_after_an_entry_the_next_in_the_order_of_names_may_append_at_once() -> None:
    assert ring("a", a=0.01, c=0.02).turn_of("b") == 100.0
    assert ring("c", a=0.01, c=0.02).turn_of("a") == 100.0


def test_each_waits_as_long_as_those_before_it_may_take() -> None:
    assert ring("a", a=0.01, b=0.02).turn_of("c") == 100.0 + 0.02
    assert ring("c", a=0.01, b=0.02).turn_of("c") == 100.0 + 0.01 + 0.02


def test_a_writer_that_is_not_known_any_more_still_has_a_place_in_the_order() -> None:
    assert ring("b", c=0.03).turn_of("a") == 100.0 + 0.03
    assert ring("b", a=0.03).turn_of("c") == 100.0


def test_nobody_waits_for_one_who_wants_nothing() -> None:
    quiet = ring("c", a=0.01, b=0.02)
    quiet.heard["b"].wants = False
    assert quiet.turn_of("c") == 100.0 + 0.01


def test_who_wants_to_only_now_gets_its_time_from_now_on() -> None:
    late = ring("b", c=0.02)
    late.heard["c"].at = 103.0
    assert late.turn_of("b") == 103.0 + 0.02


def test_who_does_not_know_who_was_first_waits_a_moment_for_news() -> None:
    unknown = ring("", a=0.01)
    unknown.took(0.02)
    assert 100.0 + 0.02 < unknown.turn_of("b") < 100.0 + 0.2


def test_who_is_not_heard_of_is_waited_for_no_more() -> None:
    left = ring("a", b=0.01, c=0.1)
    left.forget(100.2)
    assert set(left.heard) == {"c"}


def test_a_turn_that_takes_longer_counts_at_once_and_a_quicker_one_slowly() -> None:
    slow = ring("a")
    slow.took(0.01)
    slow.took(0.1)
    assert slow.own == 0.1
    slow.took(0.01)
    assert 0.05 < slow.own < 0.1
