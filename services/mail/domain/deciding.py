"""What a command makes happen, or why it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

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
from services.mail.domain.mail import FINAL, Mail, Phase
from services.mail.domain.retry import Backoff, Reply

OPEN_EVERY_US = 1_000_000
"""Openings that follow one another more closely count as one: a mail program that fetches a picture twice has shown it once."""
MOST_OPENS = 1000
"""No more openings of one mail are written down: its address may be fetched by anyone who has the mail, for ever."""

_WAITING = frozenset({Phase.QUEUED, Phase.DEFERRED})


class Refused(Exception):
    """A command the mail's state does not allow. ``reason`` is the name of a ``tradewind.errors.v1.ErrorReason``."""

    def __init__(
        self, reason: str, message: str, field: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})


class NextStep(Enum):
    """What is to be done for a mail."""

    NOTHING = "nothing"
    WAIT = "wait"
    ATTEMPT = "attempt"
    EXPIRE = "expire"
    GIVE_UP_ATTEMPT = "give_up_attempt"


def next_step(mail: Mail, now_us: int) -> NextStep:
    """Say what is to be done for a mail now. An attempt without an outcome is given up only once whoever began it must be done or dead."""
    if mail.phase is Phase.ABSENT or mail.phase in FINAL:
        return NextStep.NOTHING
    attempt = mail.under_way
    if attempt is not None:
        return NextStep.GIVE_UP_ATTEMPT if now_us >= attempt.give_up_us else NextStep.WAIT
    if now_us >= mail.expire_us:
        return NextStep.EXPIRE
    return NextStep.ATTEMPT if now_us >= mail.next_attempt_us else NextStep.WAIT


def decide(mail: Mail, command: Command) -> Sequence[Event]:
    """Turn a command into events. Raises Refused with WRONG_MAIL_STATE where the mail's state does not allow it."""
    if isinstance(command, QueueMail):
        return _queue(mail, command)
    if mail.phase is Phase.ABSENT:
        raise Refused("NOT_FOUND", "no such mail")
    # The timeline never runs backwards, whichever server's clock is behind.
    now = max(command.now_us, mail.updated_us)
    match command:
        case StartAttempt(number=number, host=host):
            _may_start(mail, number)
            return [AttemptStarted(now, mail.labels, number, host, max(command.give_up_us, now))]
        case RecordUnreachable(number=number, host=host):
            _may_start(mail, number)
            started = AttemptStarted(now, mail.labels, number, host, now)
            if command.final:
                return [started, Bounced(now, mail.labels, command.reply)]
            return [started, *_deferral(mail, now, number, command.reply, command.backoff, command.jitter)]
        case Expire():
            _must_wait(mail)
            return [Expired(now, mail.labels)] if now >= mail.expire_us else []
        case Postpone(until_us=until):
            _must_wait(mail)
            return [Postponed(now, mail.labels, min(max(until, now), mail.expire_us))]
        case RecordOpen():
            return _open(mail, now)
        case _:
            return _outcome(mail, now, command)


def _queue(mail: Mail, command: QueueMail) -> Sequence[Event]:
    if mail.phase is not Phase.ABSENT:
        raise Refused("ALREADY_EXISTS", "the mail exists already")
    return [
        Queued(
            at_us=command.now_us,
            labels=command.labels,
            sender=command.sender,
            recipient=command.recipient,
            subject=command.subject,
            text=command.text,
            html=command.html,
            expire_us=max(command.expire_us, command.now_us),
            attributes=command.attributes,
            traceparent=command.traceparent,
        )
    ]


def _outcome(
    mail: Mail, now: int, command: RecordDelivered | RecordDeferred | RecordBounced | RecordOutcomeUnknown
) -> Sequence[Event]:
    attempt = mail.under_way
    if attempt is None and _is_found_out_late(mail, command):
        attempt = mail.attempts[-1]
    if attempt is None or attempt.number != command.number:
        raise _wrong_state(mail, f"attempt {command.number} is not under way")
    match command:
        case RecordDelivered(reply=reply):
            return [Delivered(now, mail.labels, reply)]
        case RecordBounced(reply=reply):
            return [Bounced(now, mail.labels, reply)]
        case RecordOutcomeUnknown():
            return [OutcomeUnknown(now, mail.labels)]
        case RecordDeferred(number=number, reply=reply):
            return _deferral(mail, now, number, reply, command.backoff, command.jitter)


def _is_found_out_late(mail: Mail, command: Command) -> bool:
    """Tell whether whoever made the attempt knows how it ended, after another gave it up: the one that heard the answer is right."""
    return mail.phase is Phase.OUTCOME_UNKNOWN and isinstance(command, RecordDelivered | RecordBounced)


def _deferral(mail: Mail, now: int, number: int, reply: Reply, backoff: Backoff, jitter: float) -> Sequence[Event]:
    """Set the next attempt, or end the mail where none is left before it expires."""
    due = now + backoff.wait_us(number, jitter)
    if due < mail.expire_us:
        return [Deferred(now, mail.labels, reply, due)]
    return [Deferred(now, mail.labels, reply, 0), Expired(now, mail.labels)]


def _open(mail: Mail, now: int) -> Sequence[Event]:
    if mail.opens >= MOST_OPENS or (mail.opens and now - mail.last_open_us < OPEN_EVERY_US):
        return []
    return [Opened(now, mail.labels, first=mail.opens == 0)]


def _may_start(mail: Mail, number: int) -> None:
    _must_wait(mail)
    if number != len(mail.attempts) + 1:
        raise _wrong_state(mail, f"attempt {number} is not the next one")


def _must_wait(mail: Mail) -> None:
    if mail.phase not in _WAITING:
        raise _wrong_state(mail, f"the mail is {mail.phase.value}")


def _wrong_state(mail: Mail, message: str) -> Refused:
    return Refused("WRONG_MAIL_STATE", message, metadata={"state": mail.phase.value})
