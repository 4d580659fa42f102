"""What Chat tells the ledger: one kind of aggregate, the conversation."""

from __future__ import annotations

from typing import Final

from services.chat import domain, projections, wire
from services.chat.commands import KIND
from services.ledger.decider import Kind

CONVERSATION: Final[Kind[domain.Conversation, domain.Command, domain.Event]] = Kind(
    name=KIND,
    initial=domain.initial,
    decide=domain.decide,
    evolve=domain.evolve,
    encode=wire.encode,
    decode=wire.decode,
    state_type=domain.Conversation,
    rows=projections.rows,
)
