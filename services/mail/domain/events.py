"""What happens to a mail. Every event carries its time and what the mail counts under, so that statistics need no look-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.mail.domain.mail import Labels, Mailbox
from services.mail.domain.retry import Reply


@dataclass(frozen=True, slots=True)
class Queued:
    """Taken. Always the first event."""

    at_us: int
    labels: Labels
    sender: Mailbox
    recipient: Mailbox
    subject: str
    text: str
    html: str
    expire_us: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """Written before the first SMTP command that could hand the mail over."""

    at_us: int
    labels: Labels
    number: int
    host: str
    give_up_us: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiving server took it."""

    at_us: int
    labels: Labels
    reply: Reply


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now; ``next_attempt_us`` is 0 where the mail expires before another attempt."""

    at_us: int
    labels: Labels
    reply: Reply
    next_attempt_us: int


@dataclass(frozen=True, slots=True)
class Bounced:
    """Refused for good."""

    at_us: int
    labels: Labels
    reply: Reply


@dataclass(frozen=True, slots=True)
class Expired:
    """No attempt succeeded in time."""

    at_us: int
    labels: Labels


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """It is not known whether the server took it."""

    at_us: int
    labels: Labels


@dataclass(frozen=True, slots=True)
class Opened:
    """The picture in it was fetched."""

    at_us: int
    labels: Labels
    first: bool


@dataclass(frozen=True, slots=True)
class Postponed:
    """Its destination is busy: no attempt was made."""

    at_us: int
    labels: Labels
    next_attempt_us: int


Event = Queued | AttemptStarted | Delivered | Deferred | Bounced | Expired | OutcomeUnknown | Opened | Postponed
