"""Between the contract's messages and the domain. The event message is also what the log holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.mail.v1 import mail_pb2

from services.mail.domain import (
    Attempt,
    AttemptStarted,
    Bounced,
    Deferred,
    Delivered,
    Event,
    Expired,
    Labels,
    Lane,
    Mail,
    Mailbox,
    Opened,
    OutcomeUnknown,
    Phase,
    Postponed,
    Queued,
    Reply,
)

LANES: Final[Mapping[int, Lane]] = {
    mail_pb2.MAIL_STREAM_UNSPECIFIED: Lane.TRANSACTIONAL,
    mail_pb2.MAIL_STREAM_TRANSACTIONAL: Lane.TRANSACTIONAL,
    mail_pb2.MAIL_STREAM_BULK: Lane.BULK,
}
_STREAMS: Final = {Lane.TRANSACTIONAL: mail_pb2.MAIL_STREAM_TRANSACTIONAL, Lane.BULK: mail_pb2.MAIL_STREAM_BULK}
_STATES: Final = {
    Phase.ABSENT: mail_pb2.MAIL_STATE_UNSPECIFIED,
    Phase.QUEUED: mail_pb2.MAIL_STATE_QUEUED,
    Phase.SENDING: mail_pb2.MAIL_STATE_SENDING,
    Phase.DEFERRED: mail_pb2.MAIL_STATE_DEFERRED,
    Phase.DELIVERED: mail_pb2.MAIL_STATE_DELIVERED,
    Phase.BOUNCED: mail_pb2.MAIL_STATE_BOUNCED,
    Phase.EXPIRED: mail_pb2.MAIL_STATE_EXPIRED,
    Phase.OUTCOME_UNKNOWN: mail_pb2.MAIL_STATE_OUTCOME_UNKNOWN,
}


class UnknownEvent(Exception):
    """The log holds an event this release knows nothing of."""


def timestamp(at_us: int) -> Timestamp:
    """Make a timestamp of µs since the epoch."""
    return Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1000)


def micros(at: Timestamp) -> int:
    """Give µs since the epoch."""
    return at.seconds * 1_000_000 + at.nanos // 1000


def encode(event: Event, version: int) -> bytes:
    """Write an event as the log holds it."""
    message = mail_pb2.MailEvent(
        version=version, event_time=timestamp(event.at_us), labels=labels_to_proto(event.labels)
    )
    match event:
        case Queued():
            message.queued.CopyFrom(_queued(event))
        case AttemptStarted(number=number, host=host, give_up_us=give_up):
            message.attempt_started.number = number
            message.attempt_started.host = host
            message.attempt_started.give_up_time.CopyFrom(timestamp(give_up))
        case Delivered(reply=reply):
            message.delivered.CopyFrom(mail_pb2.MailDelivered(reply_code=reply.code, enhanced_code=reply.enhanced))
        case Deferred(reply=reply, next_attempt_us=due):
            message.deferred.CopyFrom(mail_pb2.MailDeferred(reply_code=reply.code, enhanced_code=reply.enhanced))
            if due:
                message.deferred.next_attempt_time.CopyFrom(timestamp(due))
        case Bounced(reply=reply):
            message.bounced.CopyFrom(mail_pb2.MailBounced(reply_code=reply.code, enhanced_code=reply.enhanced))
        case Expired():
            message.expired.SetInParent()
        case OutcomeUnknown():
            message.outcome_unknown.SetInParent()
        case Opened(first=first):
            message.opened.CopyFrom(mail_pb2.MailOpened(first=first))
        case Postponed(next_attempt_us=due):
            message.postponed.next_attempt_time.CopyFrom(timestamp(due))
    return message.SerializeToString()


def decode(payload: bytes) -> Event:
    """Read an event out of the log. Raises UnknownEvent."""
    message = mail_pb2.MailEvent.FromString(payload)
    read = _READERS.get(message.WhichOneof("event") or "")
    if read is None:
        raise UnknownEvent("the log holds an event this release knows nothing of")
    return read(message, micros(message.event_time), labels_of(message.labels))


def labels_to_proto(labels: Labels) -> mail_pb2.MailLabels:
    """Write what a mail counts under."""
    return mail_pb2.MailLabels(
        stream=_STREAMS[labels.lane], campaign=labels.campaign, template=labels.template, domain=labels.domain
    )


def labels_of(labels: mail_pb2.MailLabels) -> Labels:
    """Read what a mail counts under."""
    return Labels(LANES.get(labels.stream, Lane.TRANSACTIONAL), labels.campaign, labels.template, labels.domain)


def mailbox_of(mailbox: mail_pb2.Mailbox) -> Mailbox:
    """Read an address."""
    return Mailbox(mailbox.address, mailbox.name)


def mail_to_proto(mail_id: str, mail: Mail, version: int) -> mail_pb2.Mail:
    """Write a mail as it stands."""
    message = mail_pb2.Mail(
        mail_id=mail_id,
        version=version,
        state=_STATES[mail.phase],
        stream=_STREAMS[mail.labels.lane],
        to=_mailbox(mail.recipient),
        subject=mail.subject,
        campaign=mail.labels.campaign,
        template=mail.labels.template,
        attempts=[_attempt(attempt) for attempt in mail.attempts],
        opens=mail.opens,
        create_time=timestamp(mail.created_us),
        update_time=timestamp(mail.updated_us),
        attributes=mail.attributes,
    )
    getattr(message, "from").CopyFrom(_mailbox(mail.sender))
    if mail.next_attempt_us:
        message.next_attempt_time.CopyFrom(timestamp(mail.next_attempt_us))
    if mail.first_open_us:
        message.first_open_time.CopyFrom(timestamp(mail.first_open_us))
    return message


def _mailbox(mailbox: Mailbox) -> mail_pb2.Mailbox:
    return mail_pb2.Mailbox(address=mailbox.address, name=mailbox.name)


def _attempt(attempt: Attempt) -> mail_pb2.Attempt:
    message = mail_pb2.Attempt(
        number=attempt.number,
        start_time=timestamp(attempt.started_us),
        host=attempt.host,
        reply_code=attempt.reply.code,
        enhanced_code=attempt.reply.enhanced,
        outcome=attempt.outcome,
    )
    if attempt.outcome:
        message.end_time.CopyFrom(timestamp(attempt.ended_us))
    return message


def _queued(event: Queued) -> mail_pb2.MailQueued:
    message = mail_pb2.MailQueued(
        to=_mailbox(event.recipient),
        content=mail_pb2.MailContent(subject=event.subject, text=event.text, html=event.html),
        attributes=event.attributes,
        expire_time=timestamp(event.expire_us),
        traceparent=event.traceparent,
    )
    # "from" is a word of Python.
    getattr(message, "from").CopyFrom(_mailbox(event.sender))
    return message


def _read_queued(message: mail_pb2.MailEvent, at_us: int, labels: Labels) -> Event:
    queued = message.queued
    return Queued(
        at_us=at_us,
        labels=labels,
        sender=mailbox_of(getattr(queued, "from")),
        recipient=mailbox_of(queued.to),
        subject=queued.content.subject,
        text=queued.content.text,
        html=queued.content.html,
        expire_us=micros(queued.expire_time),
        attributes=dict(queued.attributes),
        traceparent=queued.traceparent,
    )


def _reply(message: mail_pb2.MailDelivered | mail_pb2.MailDeferred | mail_pb2.MailBounced) -> Reply:
    return Reply(message.reply_code, message.enhanced_code)


_READERS: Final[Mapping[str, Callable[[mail_pb2.MailEvent, int, Labels], Event]]] = {
    "queued": _read_queued,
    "attempt_started": lambda message, at, labels: AttemptStarted(
        at,
        labels,
        message.attempt_started.number,
        message.attempt_started.host,
        micros(message.attempt_started.give_up_time),
    ),
    "delivered": lambda message, at, labels: Delivered(at, labels, _reply(message.delivered)),
    "deferred": lambda message, at, labels: Deferred(
        at, labels, _reply(message.deferred), micros(message.deferred.next_attempt_time)
    ),
    "bounced": lambda message, at, labels: Bounced(at, labels, _reply(message.bounced)),
    "expired": lambda _message, at, labels: Expired(at, labels),
    "outcome_unknown": lambda _message, at, labels: OutcomeUnknown(at, labels),
    "opened": lambda message, at, labels: Opened(at, labels, message.opened.first),
    "postponed": lambda message, at, labels: Postponed(at, labels, micros(message.postponed.next_attempt_time)),
}
