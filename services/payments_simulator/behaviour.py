"""What a payment method's token makes the simulator do; the tokens are described in the package's docstring and ``docs/payments.md``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

AUTHORIZE: Final = "authorize"
CAPTURE: Final = "capture"
VOID: Final = "void"

_OK: Final = re.compile(r"pm_(?:[a-z0-9]+_)*ok")
_MOST_MS: Final = 60_000
_MOST_CALLS: Final = 1000


class Answer(Enum):
    """How a faulty call ends."""

    SILENCE = auto()
    UNAVAILABLE = auto()
    INTERNAL = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with the first ``calls`` calls of a step. ``applies``: the step is done; ``late_ms``: so much later."""

    step: str
    answer: Answer
    calls: int = 1
    applies: bool = False
    late_ms: int = 0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a method does. ``decline_code``: why the issuer refuses; None where it does not. ``slow_ms``: how long each step takes."""

    decline_code: str | None = None
    slow_ms: int = 0
    fault: Fault | None = None

    def fault_of(self, step: str) -> Fault | None:
        """Give what goes wrong with a step."""
        return self.fault if self.fault is not None and self.fault.step == step else None


def _declines(code: str) -> Callable[[int], Behaviour]:
    return lambda _: Behaviour(decline_code=code)


def _fails(step: str, answer: Answer, *, applies: bool = False) -> Callable[[int], Behaviour]:
    return lambda calls: Behaviour(fault=Fault(step, answer, min(calls, _MOST_CALLS), applies))


def _late(ms: int) -> Behaviour:
    return Behaviour(fault=Fault(AUTHORIZE, Answer.SILENCE, 1, applies=True, late_ms=min(ms, _MOST_MS)))


_TOKENS: Final[Mapping[str, tuple[int, Callable[[int], Behaviour]]]] = {
    "pm_declined": (0, _declines("declined")),
    "pm_insufficient_funds": (0, _declines("insufficient_funds")),
    "pm_expired_card": (0, _declines("expired_card")),
    "pm_slow": (500, lambda ms: Behaviour(slow_ms=min(ms, _MOST_MS))),
    "pm_unavailable_then_ok": (2, _fails(AUTHORIZE, Answer.UNAVAILABLE)),
    "pm_internal_then_ok": (1, _fails(AUTHORIZE, Answer.INTERNAL)),
    "pm_timeout_before_apply": (1, _fails(AUTHORIZE, Answer.SILENCE)),
    "pm_timeout_after_apply": (1, _fails(AUTHORIZE, Answer.SILENCE, applies=True)),
    "pm_unavailable_after_apply": (1, _fails(AUTHORIZE, Answer.UNAVAILABLE, applies=True)),
    "pm_late": (3000, _late),
    "pm_capture_unavailable_then_ok": (2, _fails(CAPTURE, Answer.UNAVAILABLE)),
    "pm_capture_timeout_after_apply": (1, _fails(CAPTURE, Answer.SILENCE, applies=True)),
    "pm_void_unavailable_then_ok": (2, _fails(VOID, Answer.UNAVAILABLE)),
    "pm_void_timeout_after_apply": (1, _fails(VOID, Answer.SILENCE, applies=True)),
}
"""Of each token: the number meant where none is given, and what it makes."""

TOKENS: Final = frozenset(_TOKENS)
"""All tokens but those of methods that work."""


def behaviour_of(payment_method: str) -> Behaviour:
    """Read a token; one that is not known is declined."""
    name, _, number = payment_method.partition(":")
    known = _TOKENS.get(name)
    if known is None and _OK.fullmatch(payment_method):
        return Behaviour()
    if known is None or (number and not (number.isdecimal() and len(number) < 9)):
        return Behaviour(decline_code="unknown_method")
    default, make = known
    return make(int(number) if number else default)
