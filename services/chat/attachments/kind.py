"""What attachments tell the ledger."""

from __future__ import annotations

from typing import Final

from services.chat.attachments import domain, rows, wire
from services.ledger.decider import Kind

ATTACHMENT: Final[Kind[domain.Attachment, domain.Command, domain.Event]] = Kind(
    name=rows.ATTACHMENT,
    initial=domain.initial,
    decide=domain.decide,
    evolve=domain.evolve,
    encode=wire.encode,
    decode=wire.decode,
    state_type=domain.Attachment,
    rows=rows.rows,
)
