"""What a gateway's steps do to a payment: pure rules. Every step that was done answers the same again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum

from services.runtime.errors import Refused


class State(IntEnum):
    """How far a payment is; numbers are those of the contract's PaymentState."""

    AUTHORIZED = 1
    DECLINED = 2
    CAPTURED = 3
    VOIDED = 4


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as the gateway knows it; amounts in minor units."""

    key: str
    state: State
    currency_code: str
    minor_units: int
    payment_method: str
    refunded: int = 0

    @property
    def reference(self) -> str:
        """The gateway's own name for it."""
        return "sim_" + hashlib.sha256(self.key.encode()).hexdigest()[:20]


def authorize(known: Payment | None, asked: Payment, decline_code: str | None) -> Payment:
    """Reserve an amount. Raises Refused (REQUEST_ID_REUSED, WRONG_PAYMENT_STATE); a declined payment is given back, not raised."""
    if known is None:
        return asked if decline_code is None else replace(asked, state=State.DECLINED)
    same = (known.currency_code, known.minor_units, known.payment_method)
    if same != (asked.currency_code, asked.minor_units, asked.payment_method):
        raise Refused("REQUEST_ID_REUSED", "the payment key was used for another amount or method", field="payment_key")
    if known.state is State.VOIDED:
        raise wrong_state(known)
    return known


def capture(known: Payment | None) -> Payment:
    """Take the money. Raises Refused (PAYMENT_NOT_FOUND, WRONG_PAYMENT_STATE)."""
    known = found(known)
    if known.state is State.CAPTURED:
        return known
    if known.state is not State.AUTHORIZED:
        raise wrong_state(known)
    return replace(known, state=State.CAPTURED)


def void(known: Payment | None) -> Payment:
    """Give an authorisation back. Raises Refused (PAYMENT_NOT_FOUND, WRONG_PAYMENT_STATE)."""
    known = found(known)
    if known.state is State.VOIDED:
        return known
    if known.state is not State.AUTHORIZED:
        raise wrong_state(known)
    return replace(known, state=State.VOIDED)


def refund(known: Payment | None, currency_code: str, minor_units: int, before: int | None) -> Payment:
    """Give captured money back; ``before`` is what was refunded under this refund key already.

    Raises Refused (PAYMENT_NOT_FOUND, WRONG_PAYMENT_STATE, REQUEST_ID_REUSED, CURRENCY_MISMATCH).
    """
    known = found(known)
    if before is not None:
        if before != minor_units or currency_code != known.currency_code:
            raise Refused("REQUEST_ID_REUSED", "the refund key was used for another amount", field="refund_key")
        return known
    if currency_code != known.currency_code:
        raise Refused("CURRENCY_MISMATCH", "a refund is of the payment's currency", field="amount.currency_code")
    if known.state is not State.CAPTURED or known.refunded + minor_units > known.minor_units:
        raise wrong_state(known)
    return replace(known, refunded=known.refunded + minor_units)


def found(known: Payment | None) -> Payment:
    """Give the payment back where it is known. Raises Refused (PAYMENT_NOT_FOUND)."""
    if known is None:
        raise Refused("PAYMENT_NOT_FOUND", "no step of this payment key was ever applied")
    return known


def wrong_state(known: Payment) -> Refused:
    """Make the refusal of a step that the payment's state does not allow."""
    return Refused(
        "WRONG_PAYMENT_STATE",
        f"a payment in state {known.state.name} does not allow this",
        metadata={"state": known.state.name},
    )
