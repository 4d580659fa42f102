"""Mail's decider: one asker at a time, soft and hard failures, expiry, openings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.mail.domain import (
    FINAL,
    Backoff,
    Command,
    Event,
    Expire,
    Expired,
    Labels,
    Lane,
    Mail,
    Mailbox,
    NextStep,
    Phase,
    Postpone,
    QueueMail,
    RecordBounced,
    RecordDeferred,
    RecordDelivered,
    RecordOpen,
    RecordOutcomeUnknown,
    RecordUnreachable,
    Refused,
    Reply,
    StartAttempt,
    Verdict,
    decide,
    evolve,
    initial,
    next_step,
    timers,
)

SECOND = 1_000_000
DAY = 86_400 * SECOND
START = 1_760_000_000 * SECOND
BACKOFF = Backoff(first_us=60 * SECOND, most_us=3600 * SECOND)


def run(mail: Mail, *commands: Command) -> Mail:
    for command in commands:
        for event in decide(mail, command):
            mail = evolve(mail, event)
    return mail


def queue(expire_us: int = START + 4 * DAY) -> QueueMail:
    return QueueMail(
        now_us=START,
        labels=Labels(Lane.TRANSACTIONAL, "", "order-receipt", "example.org"),
        sender=Mailbox("orders@tradewind.example", "Tradewind"),
        recipient=Mailbox("ann@example.org", "Ann"),
        subject="Hello",
        text="Hello",
        html="",
        expire_us=expire_us,
    )


def start(number: int, now_us: int = START) -> StartAttempt:
    return StartAttempt(now_us, number, "mx.example.org", now_us + 60 * SECOND)


def defer(number: int, now_us: int, code: int = 451) -> RecordDeferred:
    return RecordDeferred(now_us, number, Reply(code, "4.3.0"), BACKOFF, 0.5)


def test_a_mail_is_taken_tried_and_delivered() -> None:
    mail = run(initial(), queue(), start(1), RecordDelivered(START + SECOND, 1, Reply(250, "2.0.0")))
    assert mail.phase is Phase.DELIVERED
    assert [attempt.outcome for attempt in mail.attempts] == ["delivered"]
    assert next_step(mail, START + 10 * DAY) is NextStep.NOTHING
    assert timers(mail) == {}


def test_of_two_askers_one_may_begin() -> None:
    mail = run(initial(), queue(), start(1))
    with pytest.raises(Refused) as refused:
        decide(mail, start(1))
    assert refused.value.reason == "WRONG_MAIL_STATE"


def test_an_attempt_out_of_turn_is_refused() -> None:
    with pytest.raises(Refused):
        decide(run(initial(), queue()), start(2))


def test_an_outcome_of_another_attempt_is_refused() -> None:
    mail = run(initial(), queue(), start(1), defer(1, START + SECOND), start(2, START + 100 * SECOND))
    with pytest.raises(Refused):
        decide(mail, RecordDelivered(START, 1, Reply(250)))


def test_an_attempt_without_outcome_is_given_up_only_when_its_time_is_over() -> None:
    mail = run(initial(), queue(), start(1))
    assert next_step(mail, START + 59 * SECOND) is NextStep.WAIT
    assert timers(mail) == {"attempt": START + 60 * SECOND}
    assert next_step(mail, START + 60 * SECOND) is NextStep.GIVE_UP_ATTEMPT
    lost = run(mail, RecordOutcomeUnknown(START + 60 * SECOND, 1))
    assert lost.phase is Phase.OUTCOME_UNKNOWN
    with pytest.raises(Refused):
        decide(lost, start(2))


def test_the_one_that_heard_the_answer_is_right_however_late() -> None:
    """Another process gave the attempt up: its clock was ahead, or the one that sent was cut off from the log."""
    mail = run(initial(), queue(), start(1), RecordOutcomeUnknown(START + 60 * SECOND, 1))
    delivered = run(mail, RecordDelivered(START + 61 * SECOND, 1, Reply(250)))
    assert (delivered.phase, [attempt.outcome for attempt in delivered.attempts]) == (Phase.DELIVERED, ["delivered"])
    bounced = run(mail, RecordBounced(START + 61 * SECOND, 1, Reply(550)))
    assert bounced.phase is Phase.BOUNCED
    for late in (defer(1, START + 61 * SECOND), RecordOutcomeUnknown(START, 1), RecordDelivered(START, 2, Reply(250))):
        with pytest.raises(Refused):
            decide(mail, late)
    with pytest.raises(Refused):
        decide(delivered, RecordBounced(START, 1, Reply(550)))


def test_a_soft_failure_waits_longer_each_time() -> None:
    mail, now, waits = run(initial(), queue()), START, []
    for number in range(1, 9):
        mail = run(mail, start(number, now), defer(number, now))
        waits.append((mail.next_attempt_us - now) // SECOND)
        now = mail.next_attempt_us
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_the_last_soft_failure_before_the_end_expires_the_mail() -> None:
    mail = run(initial(), queue(expire_us=START + 30 * SECOND), start(1))
    events = decide(mail, defer(1, START + SECOND))
    assert [type(event).__name__ for event in events] == ["Deferred", "Expired"]
    for event in events:
        mail = evolve(mail, event)
    assert mail.phase is Phase.EXPIRED


def test_no_connection_is_an_attempt_that_ended_at_once() -> None:
    mail = run(initial(), queue(), RecordUnreachable(START, 1, "mx.example.org", Reply(), BACKOFF, 0.0))
    assert mail.phase is Phase.DEFERRED
    assert len(mail.attempts) == 1
    assert mail.next_attempt_us == START + 45 * SECOND


def test_a_bounce_is_final() -> None:
    mail = run(initial(), queue(), start(1), RecordBounced(START, 1, Reply(550, "5.1.1")))
    assert mail.phase is Phase.BOUNCED


def test_a_mail_whose_time_is_over_expires_and_not_before() -> None:
    mail = run(initial(), queue(expire_us=START + SECOND))
    assert decide(mail, Expire(START)) == []
    assert isinstance(decide(mail, Expire(START + SECOND))[0], Expired)
    assert next_step(mail, START + SECOND) is NextStep.EXPIRE


def test_putting_off_is_no_attempt() -> None:
    mail = run(initial(), queue(), Postpone(START, START + 5 * SECOND))
    assert (mail.phase, mail.attempts, mail.next_attempt_us) == (Phase.QUEUED, (), START + 5 * SECOND)
    assert next_step(mail, START) is NextStep.WAIT


def test_openings_count_once_a_second_and_the_first_says_so() -> None:
    mail = run(initial(), queue(), start(1), RecordDelivered(START, 1, Reply(250)))
    assert decide(mail, RecordOpen(START))[0].first  # type: ignore[union-attr]
    mail = run(mail, RecordOpen(START), RecordOpen(START + 1), RecordOpen(START + SECOND))
    assert (mail.opens, mail.first_open_us) == (2, START)


def test_the_number_of_openings_is_bounded() -> None:
    mail = run(initial(), queue(), *(RecordOpen(START + at * SECOND) for at in range(1200)))
    assert mail.opens == 1000


def test_nothing_happens_to_a_mail_that_is_not_there() -> None:
    with pytest.raises(Refused) as refused:
        decide(initial(), RecordOpen(START))
    assert refused.value.reason == "NOT_FOUND"


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (250, Verdict.TAKEN),
        (421, Verdict.SOFT),
        (450, Verdict.SOFT),
        (0, Verdict.SOFT),
        (550, Verdict.HARD),
        (354, Verdict.SOFT),
    ],
)
def test_reply_codes_are_read_by_their_first_digit(code: int, verdict: Verdict) -> None:
    assert Reply(code).verdict is verdict


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_waits_stay_within_a_quarter_of_their_bounds(failures: int, jitter: float) -> None:
    assert 45 * SECOND <= BACKOFF.wait_us(failures, jitter) <= 4500 * SECOND


class AnyOrder(RuleBasedStateMachine):
    """Whatever is asked in whatever order: a final mail stays final, and at most one attempt is ever under way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.mail = run(initial(), queue(expire_us=START + DAY))
        self.finals = 0

    def ask(self, command: Command) -> None:
        before = self.mail
        try:
            events: list[Event] = list(decide(before, command))
        except Refused:
            return
        for event in events:
            self.mail = evolve(self.mail, event)
        if before.phase in FINAL:
            assert self.mail.phase is before.phase

    @rule(seconds=st.integers(-100, 40_000))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(number=st.integers(1, 6))
    def begin(self, number: int) -> None:
        self.ask(start(number, self.now))

    @rule(number=st.integers(1, 6), code=st.sampled_from([250, 421, 550]))
    def end(self, number: int, code: int) -> None:
        if code == 250:
            self.ask(RecordDelivered(self.now, number, Reply(code)))
        elif code == 421:
            self.ask(defer(number, self.now, code))
        else:
            self.ask(RecordBounced(self.now, number, Reply(code)))

    @rule(number=st.integers(1, 6))
    def fail_to_connect(self, number: int) -> None:
        self.ask(RecordUnreachable(self.now, number, "", Reply(), BACKOFF, 0.5))

    @rule()
    def expire(self) -> None:
        self.ask(Expire(self.now))

    @rule()
    def put_off(self) -> None:
        self.ask(Postpone(self.now, self.now + SECOND))

    @rule()
    def open(self) -> None:
        self.ask(RecordOpen(self.now))

    @invariant()
    def attempts_are_numbered_and_ended(self) -> None:
        assert [attempt.number for attempt in self.mail.attempts] == list(range(1, len(self.mail.attempts) + 1))
        open_attempts = [attempt for attempt in self.mail.attempts if not attempt.outcome]
        assert len(open_attempts) == (1 if self.mail.phase is Phase.SENDING else 0)
        assert bool(timers(self.mail)) == (self.mail.phase not in FINAL)


TestAnyOrder = AnyOrder.TestCase
