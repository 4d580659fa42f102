"""Rounds: whatever comes in which order, what was said is told of by one that is due, and one that was begun stays what it is."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.chat.push import domain, wire
from services.chat.push.domain import Begin, End, MakeDue, Rounds

COMMANDS = st.one_of(
    st.builds(lambda wait: ("due", wait), st.integers(1, 50)),
    st.builds(lambda news: ("begin", news), st.integers(1, 9)),
    st.builds(lambda wait, failed: ("end", wait, failed), st.integers(0, 50), st.booleans()),
)


def applied(state: Rounds, command: domain.Command) -> Rounds:
    for event in domain.decide(state, command):
        state = domain.evolve(state, event)
        assert wire.decode(wire.encode(event, state.version)) == event
    return state


@given(st.lists(st.tuples(st.integers(0, 20), COMMANDS), max_size=40))
def test_who_waits_has_a_timer(steps: list[tuple[int, tuple[Any, ...]]]) -> None:
    state, now = domain.initial(), 1_000
    for pause, (what, *values) in steps:
        now += pause
        before = state
        if what == "due":
            state = applied(state, MakeDue(now, now + values[0]))
            assert now < state.due_us <= max(now + values[0], before.due_us if before.due_us <= now + values[0] else 0)
            assert state.upto == before.upto
        elif what == "begin":
            state = applied(state, Begin(now, before.told + values[0]))
            assert state.upto == (before.upto or before.told + values[0])
        else:
            next_us = now + values[0] if values[0] else 0
            upto = before.upto or before.told + 1
            state = applied(state, End(now, upto, next_us, bool(values[1])))
            assert state.upto == 0
            assert state.told == (before.told if values[1] else upto)
            assert state.failures == (before.failures + 1 if values[1] else 0)
            # What was made due meanwhile stays due, and what comes next is no later than asked.
            assert not (before.due_us > now and not 0 < state.due_us <= before.due_us)
            assert not next_us or 0 < state.due_us <= next_us
        assert domain.timers(state) == ({domain.TIMER: state.due_us} if state.due_us else {})


def test_the_same_again_changes_nothing() -> None:
    state = applied(domain.initial(), MakeDue(10, 20))
    assert domain.decide(state, MakeDue(11, 21)) == ()
    assert applied(state, MakeDue(20, 30)).due_us == 30  # it is due, and may have looked already
    begun = applied(state, Begin(20, 7))
    assert domain.decide(begun, Begin(21, 9)) == ()
    assert domain.decide(begun, End(22, 8, 0, False)) == ()
