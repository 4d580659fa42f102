"""A gateway's rules against a model: one authorisation a key, a step that was done answers the same again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payments_simulator import payments
from services.payments_simulator.payments import Payment, State
from services.runtime.errors import Refused

ASKED = Payment("key-1", State.AUTHORIZED, "GBP", 1000, "pm_ok")


def authorize(known: Payment | None) -> Payment:
    return payments.authorize(known, ASKED, None)


STEPS: dict[str, Callable[[Payment | None], Payment]] = {
    "authorize": authorize,
    "capture": payments.capture,
    "void": payments.void,
    "refund": lambda known: payments.refund(known, "GBP", 300, None),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=12))
def test_any_order_of_steps_keeps_the_books_straight(steps: list[str]) -> None:
    known: Payment | None = None
    for step in steps:
        try:
            after = STEPS[step](known)
        except Refused as refused:
            assert refused.reason in ("PAYMENT_NOT_FOUND", "WRONG_PAYMENT_STATE")
            continue
        if known is not None:
            ends = {State.AUTHORIZED: set(State) - {State.DECLINED}}
            assert after.state in ends.get(known.state, {known.state})
        if step != "refund":
            assert STEPS[step](after) == after
        assert 0 <= after.refunded <= after.minor_units
        assert after.refunded == 0 or after.state is State.CAPTURED
        known = after


def test_a_declined_payment_stays_declined() -> None:
    declined = payments.authorize(None, ASKED, "declined")
    assert declined.state is State.DECLINED
    assert payments.authorize(declined, ASKED, None) == declined
    for step in (payments.capture, payments.void):
        with pytest.raises(Refused) as refused:
            step(declined)
        assert refused.value.reason == "WRONG_PAYMENT_STATE"


@pytest.mark.parametrize(
    "other",
    [
        Payment("key-1", State.AUTHORIZED, "GBP", 1001, "pm_ok"),
        Payment("key-1", State.AUTHORIZED, "EUR", 1000, "pm_ok"),
        Payment("key-1", State.AUTHORIZED, "GBP", 1000, "pm_visa_ok"),
    ],
)
def test_a_key_names_one_payment_only(other: Payment) -> None:
    with pytest.raises(Refused) as refused:
        payments.authorize(ASKED, other, None)
    assert refused.value.reason == "REQUEST_ID_REUSED"


def test_a_refund_key_names_one_refund_only() -> None:
    captured = payments.capture(ASKED)
    refunded = payments.refund(captured, "GBP", 300, None)
    assert payments.refund(refunded, "GBP", 300, 300) == refunded
    with pytest.raises(Refused) as refused:
        payments.refund(refunded, "GBP", 400, 300)
    assert refused.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(Refused) as refused:
        payments.refund(refunded, "EUR", 300, None)
    assert refused.value.reason == "CURRENCY_MISMATCH"
