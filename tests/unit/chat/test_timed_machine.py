"""Invitations and messages that do not last, driven by random commands beside a naive model, with a clock that jumps."""

from __future__ import annotations

from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import TypeAdapter
from tradewind.chat.v1 import chat_pb2

from services.chat import domain, wire
from services.chat.domain import Due, Known, Role, conversation, expiring, inviting, recent

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
OTHERS = ("bob", "cy", "dan", "eve")
others = st.sampled_from(OTHERS)
DIGESTS = ("aa", "bb", "cc", "dd")


class _Invitation:
    """One, as a naive model keeps it."""

    def __init__(self, until: int, most: int) -> None:
        self.until, self.most, self.uses, self.revoked = until, most, 0, False

    def ended(self, now: int) -> str:
        if self.revoked:
            return "INVITATION_REVOKED"
        if self.until and now >= self.until:
            return "INVITATION_EXPIRED"
        return "INVITATION_USED_UP" if self.most and self.uses >= self.most else ""


class TimedMachine(RuleBasedStateMachine):
    """Ada owns a group, and nobody leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.state = domain.initial()
        self.now = START
        self.members, self.banned = {"ada"}, set[str]()
        self.invitations: dict[str, _Invitation] = {}
        self.ends: dict[int, int] = {}
        self.roots: dict[int, int] = {}
        self.gone: set[int] = set()
        self.deleted: set[int] = set()
        self.patches = [
            mock.patch.object(recent, "_YOUNG", 3),
            mock.patch.object(conversation, "MAX_INVITATIONS", 2),
            mock.patch.object(inviting, "MAX_INVITATIONS", 2),
            mock.patch.object(expiring, "MOST_AT_ONCE", 3),
        ]
        for patch in self.patches:
            patch.start()

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()

    @initialize()
    def create(self) -> None:
        self.apply(domain.CreateConversation(self.now, "ada", domain.Kind.GROUP, (("ada", Role.OWNER),)))
        self.apply(domain.SendMessage(self.now, "ada", b"\n\x02hi"))

    def apply(self, command: domain.Command) -> tuple[str, list[domain.Event]]:
        try:
            events = list(domain.decide(self.state, command))
        except domain.Refused as refused:
            return refused.reason, []
        for event in events:
            self.state = domain.evolve(self.state, event)
            assert wire.decode(wire.encode(event, self.state.version)) == event
        return "", events

    def facts(self) -> Known:
        facts = {domain.deleted(version): int(version in self.gone | self.deleted) for version in range(1, 80)}
        for root in range(1, 80):
            facts[domain.replies(root)] = self.replies(root)
        return Known(self.state.version, facts)

    def replies(self, root: int) -> int:
        return sum(1 for version, of in self.roots.items() if of == root and version not in self.gone | self.deleted)

    @rule(seconds=st.sampled_from((0, 1, 5, 20, 100)))
    def time_goes_by(self, seconds: int) -> None:
        self.now += seconds * SECOND

    # --- invitations ------------------------------------------------------------------------------

    @rule(digest=st.sampled_from(DIGESTS), lasts=st.sampled_from((0, 5, 50)), most=st.sampled_from((0, 1, 2)))
    def invite(self, digest: str, lasts: int, most: int) -> None:
        until = self.now + lasts * SECOND if lasts else 0
        reason, events = self.apply(domain.CreateInvitation(self.now, "ada", digest, digest, Role.MEMBER, until, most))
        lasting = [each for each in self.invitations.values() if not each.ended(self.now)]
        if digest in self.invitations:
            assert (reason, events) == ("", [])
        elif len(lasting) >= 2:
            assert reason == "INVITATIONS_LIMIT"
        else:
            assert reason == ""
            if len(self.invitations) >= 2:
                over = next(name for name, each in self.invitations.items() if each.ended(self.now))
                del self.invitations[over]
            self.invitations[digest] = _Invitation(until, most)

    @rule(digest=st.sampled_from(DIGESTS))
    def revoke(self, digest: str) -> None:
        reason, events = self.apply(domain.RevokeInvitation(self.now, "ada", digest))
        if digest not in self.invitations:
            assert reason == "NOT_FOUND"
        else:
            assert (reason, bool(events)) == ("", not self.invitations[digest].revoked)
            self.invitations[digest].revoked = True

    @rule(user=others, digest=st.sampled_from(DIGESTS))
    def join(self, user: str, digest: str) -> None:
        reason, events = self.apply(domain.JoinByInvitation(self.now, user, digest))
        invitation = self.invitations.get(digest)
        if invitation is None:
            assert reason == "NOT_FOUND"
        elif user in self.members:
            assert (reason, events) == ("", [])
        elif user in self.banned:
            assert reason == "BANNED"
        elif invitation.ended(self.now):
            assert reason == invitation.ended(self.now)
        else:
            assert [type(event) for event in events] == [domain.InvitationUsed, domain.MembersAdded]
            invitation.uses += 1
            self.members.add(user)

    @rule(user=others)
    def ban(self, user: str) -> None:
        self.apply(domain.Ban(self.now, "ada", user))
        self.banned.add(user)
        self.members.discard(user)

    # --- messages that do not last ----------------------------------------------------------------

    @rule(lasts=st.sampled_from((0, 5, 6, 30)), in_thread=st.booleans())
    def send(self, lasts: int, in_thread: bool) -> None:
        root = 2 if in_thread else 0
        said = (
            None
            if not (root or lasts)
            else domain.Said(root, domain.Target(2, "ada") if root else None, (), False, self.facts(), lasts * SECOND)
        )
        content = b"\n\x02hi" + (b"\x20\x02" if root else b"")
        _, (event,) = self.apply(domain.SendMessage(self.now, "ada", content, said=said))
        version = self.state.version
        assert isinstance(event, domain.MessageSent)
        ends = event.about.expires_us if event.about is not None else 0
        ttl = self.state.profile.message_ttl_s if self.state.profile is not None else 0
        assert ends == (self.now + (lasts or ttl) * SECOND if lasts or ttl else 0)
        if ends:
            self.ends[version] = ends
        if root:
            self.roots[version] = root

    @rule(ttl=st.sampled_from((0, 5, 60)))
    def set_time(self, ttl: int) -> None:
        self.apply(domain.ChangeConversation(self.now, "ada", message_ttl_s=ttl))

    @rule(back=st.integers(0, 5))
    def delete(self, back: int) -> None:
        version = self.state.version - back
        if version not in self.ends:
            return
        target = domain.Target(version, "ada", self.roots.get(version, 0), self.ends[version])
        reason, events = self.apply(domain.DeleteMessage(self.now, "ada", target, self.facts()))
        is_there = version not in self.gone | self.deleted and self.now < self.ends[version]
        assert (reason, bool(events)) == ("", is_there)
        if is_there:
            self.deleted.add(version)

    @rule(looked_ago=st.booleans())
    def wake(self, looked_ago: bool) -> None:
        """Do as the timer does: look at the rows, then decide; perhaps something was said in between."""
        standing = {v: at for v, at in self.ends.items() if v not in self.gone}  # rows of deleted ones are still there
        ended = sorted((at, v) for v, at in standing.items() if at <= self.now)
        due = tuple(Due(v, "ada", self.roots.get(v, 0), at) for at, v in ended[:3])
        rest = min((at for v, at in standing.items() if v not in {each.version for each in due}), default=0)
        version = self.state.version
        if looked_ago:
            self.send(30, False)
        reason, events = self.apply(domain.ExpireMessages(self.now, due, rest, version, self.facts()))
        assert reason == ""
        for event in events:
            assert isinstance(event, domain.MessagesExpired)
            assert not event.actor
            told = {each.version for each in event.messages_gone}
            assert told == {each.version for each in due} - self.deleted
            self.gone |= told
            for each in event.messages_gone:
                assert each.thread_root == self.roots.get(each.version, 0)
            last = {each.thread_root: each.thread_replies for each in event.messages_gone}
            assert all(count == self.replies(root) for root, count in last.items() if root)

    @rule()
    def keep_and_restore(self) -> None:
        adapter = TypeAdapter(domain.Conversation)
        assert adapter.validate_json(adapter.dump_json(self.state)) == self.state

    @invariant()
    def agrees(self) -> None:
        profile = self.state.profile
        if profile is None:
            return
        assert set(profile.members) == self.members
        kept = {each.id: (each.uses, each.revoked) for each in profile.invitations.values()}
        assert kept == {name: (each.uses, each.revoked) for name, each in self.invitations.items()}
        assert all(each.uses <= each.most for each in self.invitations.values() if each.most)

    @invariant()
    def none_is_forgotten(self) -> None:
        """Whatever is to end is looked for in time: the timer is never later than the first of them, by more than the shortest life."""
        left = [at for version, at in self.ends.items() if version not in self.gone | self.deleted]
        if left:
            next_us = self.state.expiring.next_us
            assert next_us
            assert next_us <= max(min(left), self.now + expiring.SHORTEST_US)


TimedMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestTimed = TimedMachine.TestCase


def test_a_timer_that_comes_too_early_or_again_does_nothing() -> None:
    state = domain.evolve(
        domain.initial(),
        domain.ConversationCreated(START, "ada", "", domain.Kind.GROUP, "", (("ada", Role.OWNER),), {}),
    )
    said = domain.About(expires_us=START + 10 * SECOND)
    state = domain.evolve(state, domain.MessageSent(START, "ada", "", b"", 1, said))
    due = (Due(2, "ada", 0, START + 10 * SECOND),)
    assert not domain.decide(state, domain.ExpireMessages(START + 9 * SECOND, due, 0, 2))
    (event,) = domain.decide(state, domain.ExpireMessages(START + 10 * SECOND, due, 0, 2))
    state = domain.evolve(state, event)
    assert state.expiring.next_us == 0
    assert not domain.decide(state, domain.ExpireMessages(START + 11 * SECOND, due, 0, 2))


def test_a_message_s_end_is_written_as_protobuf_would() -> None:
    content = chat_pb2.MessageContent(text="hi", thread_root=2).SerializeToString()
    about = domain.About(2, 7, (), False, START + 10 * SECOND + 5)
    event = domain.MessageSent(START, "ada", "robot", content, 3, about)
    encoded = wire.encode(event, 9)
    message = chat_pb2.ConversationEvent.FromString(encoded)
    assert message.SerializeToString() == encoded
    assert wire.microseconds(message.expire_time) == START + 10 * SECOND + 5
    said = wire.said(encoded)
    assert said is not None
    assert [said.ended(START + 10 * SECOND + late) for late in (4, 5)] == [False, True]
