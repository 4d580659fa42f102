"""A caller gets its rate, its burst, and nobody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.limits import RateLimiter


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_then_the_rate_holds() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=10, burst=3, capacity=10, clock=clock)
    assert [limiter.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.take("a") == pytest.approx(0.1)
    clock.now += 0.1
    assert limiter.take("a") == 0.0
    assert limiter.take("a") > 0
    assert limiter.take("b") == 0.0


def test_a_count_above_the_burst_passes_when_full_and_is_paid_for_afterwards() -> None:
    clock = Clock()
    limiter = RateLimiter(rate=10, burst=5, capacity=10, clock=clock)
    assert limiter.take("a", 25) == 0.0
    assert limiter.take("a", 1) == pytest.approx(2.1)
    clock.now += 2.1
    assert limiter.take("a", 1) == 0.0


def test_no_rate_is_no_limit() -> None:
    limiter = RateLimiter(rate=0, burst=1, capacity=1)
    assert not any(limiter.take("a", 1000) for _ in range(100))


def test_the_least_recently_used_is_forgotten() -> None:
    limiter = RateLimiter(rate=1, burst=1, capacity=2, clock=Clock())
    assert limiter.take("a") == limiter.take("b") == 0.0
    assert limiter.take("a") > 0
    limiter.take("c")
    assert limiter.take("a") > 0
    assert limiter.take("b") == 0.0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 12)), max_size=60))
def test_never_more_than_burst_and_rate_allow(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    limiter = RateLimiter(rate=5, burst=8, capacity=4, clock=clock)
    taken, largest = 0, 0
    for pause, count in steps:
        clock.now += pause
        wait = limiter.take("a", count)
        if wait:
            clock.now += wait + 1e-9
            assert limiter.take("a", count) == 0.0
        taken += count
        largest = max(largest, count)
        assert taken <= 8 + 5 * clock.now + largest + 1e-6
