"""The pure part of Mail: what a mail is, what may happen to it, and when.

Standard library only; times are arguments, in µs since the epoch.
"""

from services.mail.domain.commands import (
    Command,
    Expire,
    Postpone,
    QueueMail,
    RecordBounced,
    RecordDeferred,
    RecordDelivered,
    RecordOpen,
    RecordOutcomeUnknown,
    RecordUnreachable,
    StartAttempt,
)
from services.mail.domain.deciding import NextStep, Refused, decide, next_step
from services.mail.domain.events import (
    AttemptStarted,
    Bounced,
    Deferred,
    Delivered,
    Event,
    Expired,
    Opened,
    OutcomeUnknown,
    Postponed,
    Queued,
)
from services.mail.domain.evolving import evolve, timers
from services.mail.domain.mail import FINAL, Attempt, Labels, Lane, Mail, Mailbox, Phase, domain_of, initial
from services.mail.domain.retry import Backoff, Reply, Verdict

__all__ = [
    "FINAL",
    "Attempt",
    "AttemptStarted",
    "Backoff",
    "Bounced",
    "Command",
    "Deferred",
    "Delivered",
    "Event",
    "Expire",
    "Expired",
    "Labels",
    "Lane",
    "Mail",
    "Mailbox",
    "NextStep",
    "Opened",
    "OutcomeUnknown",
    "Phase",
    "Postpone",
    "Postponed",
    "QueueMail",
    "Queued",
    "RecordBounced",
    "RecordDeferred",
    "RecordDelivered",
    "RecordOpen",
    "RecordOutcomeUnknown",
    "RecordUnreachable",
    "Refused",
    "Reply",
    "StartAttempt",
    "Verdict",
    "decide",
    "domain_of",
    "evolve",
    "initial",
    "next_step",
    "timers",
]
