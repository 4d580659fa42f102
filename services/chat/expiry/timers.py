"""When a conversation is to be woken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.chat import domain

TIMER: Final = "expiry"


def timers(state: domain.Conversation) -> Mapping[str, int]:
    """Name a conversation's timers: one, when the first of its messages ends."""
    next_us = state.expiring.next_us
    return {TIMER: next_us} if next_us else {}
