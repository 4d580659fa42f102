"""What the simulator's tokens mean, and that every one of them is written down."""

from __future__ import annotations

from pathlib import Path

import pytest

import services.payments_simulator as simulator
from services.payments_simulator.behaviour import AUTHORIZE, CAPTURE, TOKENS, VOID, Answer, behaviour_of


@pytest.mark.parametrize("token", ["pm_ok", "pm_visa_ok", "pm_some_other_ok"])
def test_methods_that_work(token: str) -> None:
    behaviour = behaviour_of(token)
    assert behaviour.decline_code is None
    assert behaviour.fault is None
    assert behaviour.slow_ms == 0


@pytest.mark.parametrize(
    "token", ["", "pm_", "visa", "pm_nonsense", "pm_OK", "pm_slow:x", "pm_slow:-1", "pm_slow:9999999999"]
)
def test_what_is_not_known_is_declined(token: str) -> None:
    assert behaviour_of(token).decline_code == "unknown_method"


def test_no_token_is_taken_for_one_that_works() -> None:
    for token in TOKENS:
        behaviour = behaviour_of(token)
        assert behaviour.decline_code or behaviour.fault or behaviour.slow_ms, token


def test_numbers() -> None:
    assert behaviour_of("pm_slow").slow_ms == 500
    assert behaviour_of("pm_slow:7").slow_ms == 7
    assert behaviour_of("pm_slow:99999999").slow_ms == 60_000
    fault = behaviour_of("pm_unavailable_then_ok:5").fault_of(AUTHORIZE)
    assert fault is not None
    assert (fault.answer, fault.calls, fault.applies) == (Answer.UNAVAILABLE, 5, False)
    late = behaviour_of("pm_late:1500").fault
    assert late is not None
    assert (late.late_ms, late.applies) == (1500, True)


def test_faults_are_of_one_step() -> None:
    behaviour = behaviour_of("pm_capture_timeout_after_apply")
    assert behaviour.fault_of(AUTHORIZE) is None
    assert behaviour.fault_of(VOID) is None
    assert behaviour.fault_of(CAPTURE) is not None


def test_every_token_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "payments.md").read_text(encoding="utf-8")
    for token in TOKENS:
        assert f"`{token}" in page, token
        assert f"``{token}" in (simulator.__doc__ or ""), token
