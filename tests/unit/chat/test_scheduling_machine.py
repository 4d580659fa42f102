"""Scheduled messages, driven by random commands and by several wake-ups that die anywhere: each is sent once, or cancelled, never both."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pydantic import TypeAdapter

from services.chat.domain import Refused
from services.chat.scheduling import domain, wire
from services.chat.scheduling.domain import Item, Status
from services.chat.scheduling.sending import actor_for, aggregate_of, told
from services.ledger.ids import AggregateId

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
IDS = ("a", "b", "c")
WORKERS = st.integers(0, 2)
ids = st.sampled_from(IDS)


class SchedulingMachine(RuleBasedStateMachine):
    """Three processes wake; each holds on to what it saw last, and may do its next step much later, or twice."""

    def __init__(self) -> None:
        super().__init__()
        self.state = domain.initial()
        self.now = START
        self.seen: dict[int, Item | None] = {}
        self.conversation: dict[
            str, int
        ] = {}  # what the conversation took, by the request id that is made of the message
        self.made: set[str] = set()
        self.cancelled: set[str] = set()
        self.recorded: set[str] = set()
        self.may = True

    def apply(self, command: domain.ScheduleCommand) -> tuple[str, list[domain.ScheduleChange]]:
        try:
            events = list(domain.decide(self.state, command))
        except Refused as refused:
            return refused.reason, []
        for event in events:
            self.state = domain.evolve(self.state, event)
            assert wire.decode(wire.encode(event, self.state.version)) == event
        return "", events

    @rule(seconds=st.sampled_from((0, 1, 10)))
    def time_goes_by(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(name=ids, seconds=st.sampled_from((-1, 0, 1, 20, 400 * 86_400)))
    def schedule(self, name: str, seconds: int) -> None:
        if name in self.made:
            return  # a request is made once; repeated it is answered by the ledger
        reason, events = self.apply(
            domain.Schedule(self.now, name, "there", b"hi", self.now + seconds * SECOND, "robot")
        )
        assert (reason, bool(events)) == (("", True) if seconds in (1, 20) else ("INVALID_FIELD", False))
        if events:
            self.made.add(name)

    @rule(name=ids, seconds=st.sampled_from((0, 5)), content=st.sampled_from((b"", b"ho")))
    def change(self, name: str, seconds: int, content: bytes) -> None:
        item = self.state.items.get(name)
        at = self.now + seconds * SECOND if seconds else 0
        reason, events = self.apply(domain.Change(self.now, name, content, at))
        if item is None or item.status is Status.FAILED:
            assert reason == "NOT_FOUND"
        elif item.status is Status.SENDING:
            assert reason == "SCHEDULED_SEND_BEGUN"
        else:
            assert (reason, bool(events)) == ("", bool(content or at))
            after = self.state.items[name]
            assert after.send_us == (at or item.send_us)
            assert after.content_version == (self.state.version if content else item.content_version)

    @rule(name=ids)
    def cancel(self, name: str) -> None:
        item = self.state.items.get(name)
        reason, _ = self.apply(domain.Cancel(self.now, name))
        if item is None:
            assert reason == "NOT_FOUND"
        elif item.status is Status.SENDING:
            assert reason == "SCHEDULED_SEND_BEGUN"
        else:
            assert reason == ""
            if item.status is Status.WAITING:
                self.cancelled.add(name)

    @rule(may=st.booleans())
    def the_conversation_changes(self, may: bool) -> None:
        self.may = may

    @rule(worker=WORKERS)
    def look(self, worker: int) -> None:
        self.seen[worker] = domain.due(self.state, self.now)

    @rule(worker=WORKERS, slow=st.booleans())
    def step(self, worker: int, slow: bool) -> None:
        """Do the next step for what was seen, however long ago."""
        item = self.seen.get(worker)
        if item is None:
            return
        if item.status is Status.WAITING:
            if slow:
                self.apply(domain.PutOff(self.now, item.id, self.now + 3 * SECOND))
            elif self.may:
                self.apply(domain.Begin(self.now, item.id))
            else:
                self.apply(domain.Fail(self.now, item.id, "MUTED", begun=False))
        elif item.id in self.conversation:  # the same request id: the first answer again
            self.conclude(item.id)
        elif slow:
            self.apply(domain.PutOff(self.now, item.id, self.now + 3 * SECOND))
        elif self.may:
            self.conversation[item.id] = self.conversation.get(item.id, 0) + 1
            self.conclude(item.id)
        else:
            self.apply(domain.Fail(self.now, item.id, "MUTED", begun=True))

    @rule(worker=WORKERS)
    def send_and_die(self, worker: int) -> None:
        item = self.seen.get(worker)
        if item is not None and item.status is Status.SENDING and self.may and item.id not in self.conversation:
            self.conversation[item.id] = 1

    def conclude(self, name: str) -> None:
        self.apply(domain.Conclude(self.now, name, 7))
        self.recorded.add(name)

    @rule()
    def keep_and_restore(self) -> None:
        adapter = TypeAdapter(domain.Schedules)
        assert adapter.validate_json(adapter.dump_json(self.state)) == self.state

    @invariant()
    def never_both(self) -> None:
        # Who takes a failure off the list cancels nothing: only what waited is cancelled.
        assert self.cancelled.isdisjoint(self.conversation)
        assert all(count == 1 for count in self.conversation.values())
        for name in self.recorded:
            assert name not in self.state.items or name not in self.conversation

    @invariant()
    def what_waits_is_woken(self) -> None:
        open_ = [each for each in self.state.items.values() if each.status is not Status.FAILED]
        assert domain.timers(self.state) == ({"send": min(each.due_us for each in open_)} if open_ else {})
        found = domain.due(self.state, self.now)
        assert (found is not None) == any(each.due_us <= self.now for each in open_)


SchedulingMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestScheduling = SchedulingMachine.TestCase


def test_failed_ones_are_forgotten_when_there_are_many() -> None:
    state = domain.initial()
    for number in range(150):
        (made,) = domain.decide(state, domain.Schedule(START, str(number), "there", b"hi", START + SECOND))
        state = domain.evolve(state, made)
        (failed,) = domain.decide(state, domain.Fail(START, str(number), "MUTED", begun=False))
        state = domain.evolve(state, failed)
    assert list(state.items) == [str(number) for number in range(50, 150)]
    assert domain.timers(state) == {}


def test_it_is_sent_by_its_user_alone() -> None:
    item = Item("a", "there", START, START, 1, "robot")
    actor = actor_for(AggregateId("acme", "schedule", "ada/x"), item)
    assert (actor.user_id, actor.acting_service, actor.oversees, actor.is_service) == ("ada/x", "robot", False, False)
    assert aggregate_of(actor) == AggregateId("acme", "schedule", "ada/x")


def test_a_message_that_an_outage_holds_up_is_tried_the_more_seldom_the_longer_it_lasts() -> None:
    item = domain.Item("id", "there", START, START, 1, "")
    outage = Refused("DEPENDENCY_UNAVAILABLE", "the hook does not answer", retry_after=1.0)
    slow = Refused("SLOW_MODE", "not yet", retry_after=1.0)
    for late, wait in ((0, 1), (5, 1), (1000, 100), (1_000_000, 600)):
        at_us = START + late * SECOND
        assert told(item, outage, at_us, begun=False) == domain.PutOff(at_us, "id", at_us + wait * SECOND)
        assert told(item, slow, at_us, begun=False) == domain.PutOff(at_us, "id", at_us + SECOND)
