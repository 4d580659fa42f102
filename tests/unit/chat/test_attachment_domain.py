"""Attachments as they are decided: whatever happens between looking and deciding, what a message names is never deleted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.chat.attachments import domain, wire
from services.chat.attachments.domain import Care, State


def done(state: domain.Attachment, *commands: domain.Command) -> domain.Attachment:
    for command in commands:
        for event in domain.decide(state, command):
            assert wire.decode(wire.encode(event, state.version + 1)) == event
            state = domain.evolve(state, event)
    return state


CREATE = domain.Create(1, "ann", 10, "text/plain", "ab" * 32)
COMPLETE = domain.Complete(2, "cd" * 32, "image/png", 20, 10, (160, 640), True)


def test_an_upload_is_completed_once() -> None:
    state = done(domain.initial(), CREATE, CREATE, COMPLETE, COMPLETE)
    assert (state.version, state.state, state.owner, state.media_type) == (2, State.COMPLETE, "ann", "image/png")
    gone = done(state, domain.Delete(3, -1), domain.Purge(4), domain.Purge(5))
    assert (gone.state, gone.version) == (State.PURGED, 4)
    with pytest.raises(domain.Refused, match="deleted"):
        domain.decide(done(state, domain.Delete(3, -1)), COMPLETE)
    with pytest.raises(domain.Refused, match="cannot be sent"):
        domain.decide(gone, domain.Spare(6))


def test_an_upload_that_expired_is_not_completed() -> None:
    state = done(domain.initial(), CREATE)
    condemned = done(state, domain.Condemn(9, state.version))
    assert not domain.open_for_bytes(condemned)
    with pytest.raises(domain.Refused) as refused:
        domain.decide(condemned, COMPLETE)
    assert refused.value.metadata == {"state": "expired"}


@given(st.integers(-5, 20))
def test_what_was_decided_by_what_is_over_does_nothing(seen: int) -> None:
    state = done(domain.initial(), CREATE, COMPLETE)
    if seen != state.version:
        assert domain.decide(state, domain.Condemn(5, seen)) == domain.decide(state, domain.Keep(5, seen)) == ()
    condemned = done(state, domain.Condemn(5, state.version))
    if seen != condemned.version and seen >= 0:
        assert domain.decide(condemned, domain.Delete(6, seen)) == ()


@dataclass
class Looker:
    """A process that sweeps: what it saw when it looked, whether the grace period was over then, and a message named the attachment."""

    seen: int = -1
    waited: bool = False
    named: bool = False


@dataclass
class Send:
    """A message on its way: it looked at the attachment, and will be there within the grace period."""

    until: int


class Sweeping(RuleBasedStateMachine):
    """Sends, deletions and several sweeps, in any order, each in its steps; a send takes less than the grace period."""

    GRACE = 10

    def __init__(self) -> None:
        super().__init__()
        self.now = 2
        self.state = done(domain.initial(), CREATE, COMPLETE)
        self.messages = 0
        self.sends: list[Send] = []
        self.releases = 0
        self.lookers = [Looker(), Looker()]

    @rule(steps=st.integers(1, 12))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.now += 1
            for send in [each for each in self.sends if each.until <= self.now]:
                self.sends.remove(send)
                self.messages += 1
                # What is said here is what the rule is for.
                assert self.state.state is State.COMPLETE

    @rule(takes=st.integers(0, 9))
    def somebody_begins_to_send(self, takes: int) -> None:
        if self.state.state is not State.COMPLETE:
            return
        if self.state.care is Care.CONDEMNED:
            self.state = done(self.state, domain.Spare(self.now))
        self.sends.append(Send(self.now + takes))

    @precondition(lambda self: self.messages)
    @rule()
    def a_message_is_deleted(self) -> None:
        self.messages -= 1
        self.releases += 1

    @precondition(lambda self: self.releases)
    @rule()
    def its_deletion_is_heard(self) -> None:
        self.releases -= 1
        self.state = done(self.state, domain.Release(self.now))

    @rule(who=st.integers(0, 1))
    def somebody_looks(self, who: int) -> None:
        # As the sweep does it: first what is known of the attachment, then who names it.
        waited = self.now - self.state.since_us >= self.GRACE
        self.lookers[who] = Looker(self.state.version, waited, self.messages > 0)

    @rule(who=st.integers(0, 1))
    def and_decides(self, who: int) -> None:
        looker = self.lookers[who]
        if looker.seen < 0 or self.state.state is not State.COMPLETE:
            return
        command: domain.Command
        if looker.named:
            command = domain.Keep(self.now, looker.seen)
        elif self.state.care is not Care.CONDEMNED:
            command = domain.Condemn(self.now, looker.seen)
        elif looker.waited:
            command = domain.Delete(self.now, looker.seen)
        else:
            return
        self.lookers[who] = Looker()
        self.state = done(self.state, command)

    @invariant()
    def what_a_message_names_is_there(self) -> None:
        if self.messages or self.sends:
            assert self.state.state is State.COMPLETE

    @invariant()
    def what_nobody_names_does_not_count_as_kept(self) -> None:
        if not self.messages and not self.releases and not self.sends:
            assert self.state.care is not Care.KEPT


TestSweeping = Sweeping.TestCase
