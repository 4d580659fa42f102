"""What Mail tells the ledger: one kind of aggregate, the mail."""

from __future__ import annotations

from typing import Final

from services.ledger.decider import Kind
from services.ledger.ids import AggregateId, derive_id
from services.mail import domain, wire

KIND: Final = "mail"

MAIL: Final[Kind[domain.Mail, domain.Command, domain.Event]] = Kind(
    name=KIND,
    initial=domain.initial,
    decide=domain.decide,
    evolve=domain.evolve,
    encode=wire.encode,
    decode=wire.decode,
    state_type=domain.Mail,
    timers=domain.timers,
)


def mail_of(tenant: str, mail_id: str) -> AggregateId:
    """Name a mail."""
    return AggregateId(tenant, KIND, mail_id)


def new_mail(tenant: str, subject: str, request_id: str) -> AggregateId:
    """Name the mail that a request makes; the same request the same mail.

    Raises:
        ValueError: the request id is no UUIDv7.
    """
    return mail_of(tenant, derive_id(request_id, tenant, subject, KIND))
