"""Trace context as text: the ``traceparent`` of W3C Trace Context, level 1, and the one that runs in this task."""

from __future__ import annotations

import random
from contextvars import ContextVar
from typing import NamedTuple

KEY = "traceparent"

current: ContextVar[str | None] = ContextVar("tradewind_traceparent", default=None)
"""The traceparent of the span this task is in; with flag 00 when the trace is known but not sampled."""


class Parent(NamedTuple):
    """A parsed traceparent."""

    trace_id: int
    span_id: int
    sampled: bool


def parse(text: str | None) -> Parent | None:
    """Parse a traceparent; None for anything that is not a valid one, which W3C asks to treat as absent."""
    if text is None or len(text) < 55 or text[2] != "-" or text[35] != "-" or text[52] != "-" or text[:2] == "ff":
        return None
    if len(text) > 55 and (text[:2] == "00" or text[55] != "-"):
        return None
    try:
        parent = Parent(int(text[3:35], 16), int(text[36:52], 16), bool(int(text[53:55], 16) & 1))
    except ValueError:
        return None
    return parent if parent.trace_id and parent.span_id else None


def render(trace_id: int, span_id: int, sampled: bool) -> str:
    """Write a traceparent of version 00."""
    return f"00-{trace_id:032x}-{span_id:016x}-{'01' if sampled else '00'}"


def unsampled() -> str:
    """Make a traceparent that tells the next service that this trace is not sampled, so that it does not decide anew."""
    # Ids of traces are no secrets.
    return render(random.getrandbits(128) or 1, random.getrandbits(64) or 1, sampled=False)
