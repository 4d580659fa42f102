"""What an event makes of a mail, and when the mail wants to be looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
from services.mail.domain.mail import Attempt, Mail, Phase
from services.mail.domain.retry import NO_REPLY, Reply

NEXT_LOOK = "attempt"
"""The one timer a mail has."""


def evolve(mail: Mail, event: Event) -> Mail:
    """Give the mail after an event."""
    match event:
        case Queued():
            return _queued(event)
        case AttemptStarted(at_us=at, number=number, host=host, give_up_us=give_up):
            attempt = Attempt(number, host, started_us=at, give_up_us=give_up)
            return replace(
                mail, phase=Phase.SENDING, attempts=(*mail.attempts, attempt), next_attempt_us=0, updated_us=at
            )
        case Delivered(at_us=at, reply=reply):
            return _ended(mail, Phase.DELIVERED, at, reply, "delivered")
        case Bounced(at_us=at, reply=reply):
            return _ended(mail, Phase.BOUNCED, at, reply, "bounced")
        case OutcomeUnknown(at_us=at):
            return _ended(mail, Phase.OUTCOME_UNKNOWN, at, NO_REPLY, "unknown")
        case Deferred(at_us=at, reply=reply, next_attempt_us=due):
            return replace(_ended(mail, Phase.DEFERRED, at, reply, "deferred"), next_attempt_us=due)
        case Postponed(at_us=at, next_attempt_us=due):
            return replace(mail, next_attempt_us=due, updated_us=at)
        case Expired(at_us=at):
            return replace(mail, phase=Phase.EXPIRED, next_attempt_us=0, updated_us=at)
        case Opened(at_us=at):
            return replace(
                mail, opens=mail.opens + 1, first_open_us=mail.first_open_us or at, last_open_us=at, updated_us=at
            )


def timers(mail: Mail) -> Mapping[str, int]:
    """Give the due time of every timer: the next attempt, or the end of an attempt whose outcome nobody has written."""
    attempt = mail.under_way
    if attempt is not None:
        return {NEXT_LOOK: attempt.give_up_us}
    if mail.phase in (Phase.QUEUED, Phase.DEFERRED):
        return {NEXT_LOOK: mail.next_attempt_us}
    return {}


def _queued(event: Queued) -> Mail:
    return Mail(
        phase=Phase.QUEUED,
        labels=event.labels,
        sender=event.sender,
        recipient=event.recipient,
        subject=event.subject,
        attributes=event.attributes,
        traceparent=event.traceparent,
        next_attempt_us=event.at_us,
        expire_us=event.expire_us,
        created_us=event.at_us,
        updated_us=event.at_us,
    )


def _ended(mail: Mail, phase: Phase, at_us: int, reply: Reply, outcome: str) -> Mail:
    *earlier, last = mail.attempts
    ended = replace(last, ended_us=at_us, reply=reply, outcome=outcome)
    return replace(mail, phase=phase, attempts=(*earlier, ended), next_attempt_us=0, updated_us=at_us)
