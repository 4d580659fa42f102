"""What can be asked of a mail. ``now_us`` is the asker's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.mail.domain.mail import Labels, Mailbox
from services.mail.domain.retry import Backoff, Reply


@dataclass(frozen=True, slots=True)
class QueueMail:
    """Take a mail."""

    now_us: int
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
class StartAttempt:
    """Begin attempt ``number``; refused while another is under way, so that of two askers one goes on."""

    now_us: int
    number: int
    host: str
    give_up_us: int


@dataclass(frozen=True, slots=True)
class RecordUnreachable:
    """Attempt ``number`` began and ended without a connection: nothing can have been handed over.

    ``final`` where there never can be one: the recipient's domain takes no mail.
    """

    now_us: int
    number: int
    host: str
    reply: Reply
    backoff: Backoff
    jitter: float
    final: bool = False


@dataclass(frozen=True, slots=True)
class RecordDelivered:
    """Attempt ``number`` succeeded."""

    now_us: int
    number: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class RecordDeferred:
    """Attempt ``number`` failed for now."""

    now_us: int
    number: int
    reply: Reply
    backoff: Backoff
    jitter: float


@dataclass(frozen=True, slots=True)
class RecordBounced:
    """Attempt ``number`` was refused for good."""

    now_us: int
    number: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class RecordOutcomeUnknown:
    """Attempt ``number`` was lost sight of."""

    now_us: int
    number: int


@dataclass(frozen=True, slots=True)
class Expire:
    """Give up a mail whose time is over."""

    now_us: int


@dataclass(frozen=True, slots=True)
class Postpone:
    """Set another moment without an attempt."""

    now_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class RecordOpen:
    """The picture was fetched."""

    now_us: int


Command = (
    QueueMail
    | StartAttempt
    | RecordUnreachable
    | RecordDelivered
    | RecordDeferred
    | RecordBounced
    | RecordOutcomeUnknown
    | Expire
    | Postpone
    | RecordOpen
)
