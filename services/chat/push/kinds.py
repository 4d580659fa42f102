"""What push tells the ledger: the rounds of conversations."""

from __future__ import annotations

from typing import Final

from services.chat.push import domain, wire
from services.chat.push.domain import Rounds
from services.ledger.decider import Kind

ROUNDS: Final[Kind[Rounds, domain.Command, domain.Event]] = Kind(
    name="push",
    initial=domain.initial,
    decide=domain.decide,
    evolve=domain.evolve,
    encode=wire.encode,
    decode=wire.decode,
    state_type=Rounds,
    timers=domain.timers,
)
"""A conversation's rounds; the aggregate has the conversation's id."""
