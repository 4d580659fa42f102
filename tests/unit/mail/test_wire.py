"""Every event survives the log, and a mail is shown as it stands."""

import pytest
from tradewind.mail.v1 import mail_pb2

from services.mail.domain import (
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
    Postponed,
    Queued,
    Reply,
    evolve,
    initial,
)
from services.mail.wire import UnknownEvent, decode, encode, mail_to_proto

AT = 1_760_000_000_123_456
LABELS = Labels(Lane.BULK, "spring", "order-receipt", "example.org")
QUEUED = Queued(
    at_us=AT,
    labels=LABELS,
    sender=Mailbox("orders@tradewind.example", "Tradewind"),
    recipient=Mailbox("ann@example.org", "Änn"),
    subject="Hello",
    text="Hello",
    html="<p>Hello</p>",
    expire_us=AT + 1,
    attributes={"order_id": "7"},
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
EVENTS: list[Event] = [
    QUEUED,
    AttemptStarted(AT + 1, LABELS, 1, "mx.example.org:25", AT + 2),
    Deferred(AT + 2, LABELS, Reply(451, "4.3.0"), AT + 3),
    Postponed(AT + 3, LABELS, AT + 4),
    AttemptStarted(AT + 4, LABELS, 2, "", AT + 5),
    Deferred(AT + 5, LABELS, Reply(), 0),
    AttemptStarted(AT + 6, LABELS, 3, "mx.example.org:25", AT + 7),
    Delivered(AT + 7, LABELS, Reply(250, "2.0.0")),
    Opened(AT + 8, LABELS, first=True),
    Opened(AT + 9, LABELS, first=False),
]
ENDS: list[Event] = [Bounced(AT, LABELS, Reply(550, "5.1.1")), Expired(AT, LABELS), OutcomeUnknown(AT, LABELS)]


@pytest.mark.parametrize("event", [*EVENTS, *ENDS], ids=lambda event: type(event).__name__)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert decode(encode(event, 7)) == event
    assert mail_pb2.MailEvent.FromString(encode(event, 7)).version == 7


def test_an_event_of_a_later_release_is_not_guessed() -> None:
    with pytest.raises(UnknownEvent):
        decode(mail_pb2.MailEvent(version=1).SerializeToString())


def test_a_mail_is_shown_with_its_timeline() -> None:
    mail: Mail = initial()
    for event in EVENTS:
        mail = evolve(mail, event)
    shown = mail_to_proto("0193", mail, len(EVENTS))
    assert shown.state == mail_pb2.MAIL_STATE_DELIVERED
    assert [(a.number, a.outcome, a.reply_code) for a in shown.attempts] == [
        (1, "deferred", 451),
        (2, "deferred", 0),
        (3, "delivered", 250),
    ]
    assert (shown.opens, shown.first_open_time.nanos) == (2, 123_464_000)
    assert not shown.HasField("next_attempt_time")
    assert (shown.version, shown.template, shown.to.name) == (len(EVENTS), "order-receipt", "Änn")
