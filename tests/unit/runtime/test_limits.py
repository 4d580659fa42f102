"""A caller gets its rate, its burst, and nobody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.limits import CallerLimits, RateLimiter


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_then_the_rate_holds() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=10, burst=3, capacity=10, clock=clock)
    assert [limiter.take(("a",)) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.take(("a",)) == pytest.approx(0.1)
    clock.now += 0.1
    assert limiter.take(("a",)) == 0.0
    assert limiter.take(("a",)) > 0
    assert limiter.take(("b",)) == 0.0


def test_a_count_above_the_burst_passes_when_full_and_is_paid_for_afterwards() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=10, burst=5, capacity=10, clock=clock)
    assert limiter.take(("a",), 25) == 0.0
    assert limiter.take(("a",), 1) == pytest.approx(2.1)
    clock.now += 2.1
    assert limiter.take(("a",), 1) == 0.0


def test_no_rate_is_no_limit() -> None:
    limiter = RateLimiter(rate=0, burst=1, capacity=1)
    assert not any(limiter.take(("a",), 1000) for _ in range(100))


def test_the_least_recently_used_is_forgotten() -> None:
    limiter = RateLimiter(rate=1, burst=1, capacity=2, clock=Clock())
    assert limiter.take(("a",)) == limiter.take(("b",)) == 0.0
    assert limiter.take(("a",)) > 0
    limiter.take(("c",))
    assert limiter.take(("a",)) > 0
    assert limiter.take(("b",)) == 0.0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 12)), max_size=60))
def test_never_more_than_burst_and_rate_allow(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    limiter = RateLimiter(rate=5, burst=8, capacity=4, clock=clock)
    taken, largest = 0, 0
    for pause, count in steps:
        clock.now += pause
        wait = limiter.take(("a",), count)
        if wait:
            clock.now += wait + 1e-9
            assert limiter.take(("a",), count) == 0.0
        taken += count
        largest = max(largest, count)
        assert taken <= 8 + 5 * clock.now + largest + 1e-6


def test_what_others_took_is_worked_off_first() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=10, burst=5, capacity=10, clock=clock)
    limiter.heard([(("a",), 25)])
    assert limiter.take(("a",)) == pytest.approx(2.1)
    clock.now += 2.1
    assert limiter.take(("a",)) == 0.0
    limiter.heard([(("a",), 1_000_000)])
    assert limiter.take(("a",)) == pytest.approx(60, abs=0.2)  # nobody waits longer than a minute


def test_only_what_was_taken_is_told_once() -> None:
    limiter = RateLimiter(rate=10, burst=5, capacity=10, clock=Clock())
    limiter.take(("early",))
    limiter.share()
    for _ in range(7):
        limiter.take(("a",))
    limiter.take(("b",), 2)
    limiter.take(("c",))
    limiter.give_back(("c",))
    assert sorted(limiter.taken(10)) == [(("a",), 5), (("b",), 2)]
    assert limiter.taken(10) == []
    limiter.take(("b",), 3)
    assert limiter.taken(10) == [(("b",), 3)]


def test_what_is_given_back_again_and_again_holds_no_more_memory() -> None:
    limiter = RateLimiter(1.0, 10.0, 10)
    limiter.share()
    for _ in range(1000):
        limiter.take(("acme", "ann"))
        limiter.give_back(("acme", "ann"))
    assert limiter._touched is not None
    assert len(limiter._touched) == 1
    assert limiter.taken(10) == []


def test_a_part_of_a_limit() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=10, burst=4, capacity=10, clock=clock)
    limiter.part(2)
    assert [limiter.take(("a",)) > 0 for _ in range(3)] == [False, False, True]
    assert limiter.take(("a",)) == pytest.approx(0.2)
    limiter.part(1)
    clock.now += 1.0
    assert [limiter.take(("a",)) > 0 for _ in range(5)] == [False] * 4 + [True]


def test_a_caller_within_its_tenant() -> None:
    refused: list[str] = []
    caller = RateLimiter(1, 3, 10, Clock(), name="caller")
    tenant = RateLimiter(1, 4, 10, Clock(), name="tenant")
    limits = CallerLimits(caller, tenant, refused.append)
    assert [limits.take(("acme", "ann")) > 0 for _ in range(4)] == [False, False, False, True]
    assert [limits.take(("acme", "bob")) > 0 for _ in range(2)] == [False, True]
    assert limits.take(("other", "bob")) == 0.0
    assert refused == ["caller", "tenant"]
    assert caller.take(("acme", "bob"), 2) == 0.0  # what the tenant's limit refused was not charged


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.3), st.integers(1, 4)), max_size=120), st.integers(1, 3))
def test_together_never_more_than_the_limit_and_what_was_not_heard_of(
    steps: list[tuple[int, float, int]], processes: int
) -> None:
    """The promise of `services.runtime.sharing`, with an instant network and one word an interval."""
    clock, every, rate, burst = Clock(), 0.25, 20.0, 6.0
    sharing = [RateLimiter(rate, burst, 10, clock) for _ in range(processes)]
    for limiter in sharing:
        limiter.share()
    total, told_at = 0, 0.0
    for which, pause, count in steps:
        clock.now += pause
        while clock.now - told_at >= every:
            told_at += every
            words = [limiter.taken(10) for limiter in sharing]
            for number, word in enumerate(words):
                for other, limiter in enumerate(sharing):
                    if other != number:
                        limiter.heard(word)
        if sharing[which % processes].take(("a",), count) == 0.0:
            total += count
        beyond = (processes - 1) * (burst + rate * every)
        assert total <= burst + rate * clock.now + beyond + 1e-6
