"""What a mail is: one recipient, one lane, and the timeline of its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from services.mail.domain.retry import NO_REPLY, Reply


class Lane(Enum):
    """Which way a mail takes; lanes do not wait for each other."""

    TRANSACTIONAL = "transactional"
    BULK = "bulk"


class Phase(Enum):
    """How far a mail is."""

    ABSENT = "absent"
    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    OUTCOME_UNKNOWN = "outcome_unknown"


FINAL = frozenset({Phase.DELIVERED, Phase.BOUNCED, Phase.EXPIRED, Phase.OUTCOME_UNKNOWN})
"""No attempt follows any of these."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address (RFC 5321) with the name people see. Personal data: never in logs or spans."""

    address: str = ""
    name: str = ""


def domain_of(address: str) -> str:
    """Give the domain of an address, in lower case."""
    return address.rpartition("@")[2].lower().rstrip(".")


@dataclass(frozen=True, slots=True)
class Labels:
    """What a mail counts under."""

    lane: Lane = Lane.TRANSACTIONAL
    campaign: str = ""
    template: str = ""
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to hand the mail over; ``outcome`` is empty, and ``ended_us`` 0, while it is under way."""

    number: int
    host: str
    started_us: int
    give_up_us: int
    ended_us: int = 0
    reply: Reply = NO_REPLY
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it stands. What it says is not here: it stands in its first event, and is read from there when it is sent."""

    phase: Phase = Phase.ABSENT
    labels: Labels = Labels()
    sender: Mailbox = Mailbox()
    recipient: Mailbox = Mailbox()
    subject: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    traceparent: str = ""
    attempts: tuple[Attempt, ...] = ()
    next_attempt_us: int = 0
    expire_us: int = 0
    opens: int = 0
    first_open_us: int = 0
    last_open_us: int = 0
    created_us: int = 0
    updated_us: int = 0

    @property
    def under_way(self) -> Attempt | None:
        """The attempt that has begun and not ended."""
        return self.attempts[-1] if self.phase is Phase.SENDING else None


def initial() -> Mail:
    """Give the state of a mail nobody has sent."""
    return Mail()
