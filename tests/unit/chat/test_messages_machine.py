"""What becomes of messages, driven by random commands beside a naive model; the state forgets after a handful of changes.

Whoever decides is handed what was looked up some time ago, as a service would: either the decision is right, or it says that it must be
looked up again.
"""

from __future__ import annotations

from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from pydantic import TypeAdapter
from tradewind.chat.v1 import chat_pb2

from services.chat import domain, wire
from services.chat.domain import Known, Role, Said, Target, reacting, recent

AT = 1_700_000_000_000_000
USERS = ("ada", "bob", "cy")
EMOJIS = ("👍", "🎉", ":lunch:")
users = st.sampled_from(USERS)
places = st.integers(1, 25)


class MessagesMachine(RuleBasedStateMachine):
    """Ada owns the group; every command is tried on the domain and on the model."""

    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.state = domain.initial()
        self.senders: dict[int, str] = {}
        self.roots: dict[int, int] = {}
        self.edits: dict[int, int] = {}
        self.deleted: set[int] = set()
        self.pins: list[int] = []
        self.given: set[tuple[int, str, str]] = set()
        self.patches = [mock.patch.object(recent, "_YOUNG", 3), mock.patch.object(reacting, "MAX_EMOJIS", 2)]
        for patch in self.patches:
            patch.start()

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()

    @initialize()
    def create(self) -> None:
        members = tuple((user, Role.OWNER if user == "ada" else Role.MEMBER) for user in USERS)
        self.apply(lambda _: domain.CreateConversation(AT, "ada", domain.Kind.GROUP, members), Known())

    def replies(self, root: int) -> int:
        return sum(1 for version, of in self.roots.items() if of == root and version not in self.deleted)

    def count(self, version: int, emoji: str) -> int:
        return sum(1 for of, which, _ in self.given if (of, which) == (version, emoji))

    def facts(self) -> Known:
        facts = {}
        for version in range(1, 40):
            facts[domain.edits(version)] = self.edits.get(version, 0)
            facts[domain.deleted(version)] = int(version in self.deleted)
            facts[domain.replies(version)] = self.replies(version)
            facts[domain.emojis(version)] = len({emoji for of, emoji, _ in self.given if of == version})
            for emoji in EMOJIS:
                facts[domain.given(version, emoji)] = self.count(version, emoji)
                for user in USERS:
                    facts[domain.gives(version, emoji, user)] = int((version, emoji, user) in self.given)
        return Known(self.state.version, facts)

    def apply(self, make, known: Known) -> tuple[str | None, list[domain.Event]]:  # type: ignore[no-untyped-def]
        """Decide with what was looked up, once more with the newest where that is stale."""
        try:
            try:
                events = list(domain.decide(self.state, make(known)))
            except domain.Stale:
                events = list(domain.decide(self.state, make(self.facts())))
        except domain.Refused as refused:
            return refused.reason, []
        for event in events:
            self.state = domain.evolve(self.state, event)
            assert wire.decode(wire.encode(event, self.state.version)) == event
        return None, events

    def target(self, version: int) -> Target | None:
        return Target(version, self.senders[version], self.roots.get(version, 0)) if version in self.senders else None

    @rule(target=known)
    def look_up(self) -> Known:
        return self.facts()

    @rule(actor=users, root=st.one_of(st.just(0), places), known=known)
    def send(self, actor: str, root: int, known: Known) -> None:
        content = chat_pb2.MessageContent(text="hi", thread_root=root).SerializeToString()
        said = Said(root, self.target(root), known=known) if root else None
        reason, events = self.apply(
            lambda looked_up: domain.SendMessage(
                AT, actor, content, 0, said=said._replace(known=looked_up) if said else None
            ),
            known,
        )
        if root and root not in self.senders:
            assert reason == "NO_SUCH_MESSAGE"
        elif root and self.roots.get(root):
            assert reason == "INVALID_FIELD"
        else:
            assert reason is None
            version = self.state.version
            self.senders[version] = actor
            if root:
                self.roots[version] = root
                (event,) = events
                assert isinstance(event, domain.MessageSent)
                assert event.about is not None
                assert event.about.thread_replies == self.replies(root)

    @rule(actor=users, version=places, known=known)
    def edit(self, actor: str, version: int, known: Known) -> None:
        reason, events = self.apply(
            lambda looked_up: domain.EditMessage(AT, actor, self.target(version), b"\n\x02ho", looked_up), known
        )
        if version not in self.senders or version in self.deleted:
            assert reason == "NO_SUCH_MESSAGE"
        elif self.senders[version] != actor:
            assert reason == "FORBIDDEN"
        else:
            self.edits[version] = self.edits.get(version, 0) + 1
            (event,) = events
            assert isinstance(event, domain.MessageEdited)
            assert event.edits == self.edits[version]

    @rule(actor=users, version=places, known=known)
    def delete(self, actor: str, version: int, known: Known) -> None:
        reason, events = self.apply(
            lambda looked_up: domain.DeleteMessage(AT, actor, self.target(version), looked_up), known
        )
        if version not in self.senders:
            assert reason == "NO_SUCH_MESSAGE"
        elif actor not in ("ada", self.senders[version]):
            assert reason == "FORBIDDEN"
        else:
            assert reason is None
            assert bool(events) == (version not in self.deleted)
            self.deleted.add(version)
            self.pins = [pin for pin in self.pins if pin != version]
            for event in events:
                assert isinstance(event, domain.MessageDeleted)
                root = self.roots.get(version, 0)
                assert (event.sender, event.thread_root) == (self.senders[version], root)
                assert event.thread_replies == (self.replies(root) if root else 0)

    @rule(actor=users, version=places, known=known)
    def pin(self, actor: str, version: int, known: Known) -> None:
        reason, _ = self.apply(lambda looked_up: domain.PinMessage(AT, actor, self.target(version), looked_up), known)
        if actor != "ada":
            assert reason == "FORBIDDEN"
        elif version not in self.senders or version in self.deleted:
            assert reason == "NO_SUCH_MESSAGE"
        else:
            assert reason is None
            if version not in self.pins:
                self.pins.append(version)

    @rule(actor=users, version=places, emoji=st.sampled_from(EMOJIS), remove=st.booleans(), known=known)
    def react(self, actor: str, version: int, emoji: str, remove: bool, known: Known) -> None:
        reason, events = self.apply(
            lambda looked_up: domain.React(AT, actor, self.target(version), emoji, remove, known=looked_up), known
        )
        if version not in self.senders or version in self.deleted:
            assert reason == "NO_SUCH_MESSAGE"
            return
        gift = (version, emoji, actor)
        different = {which for of, which, _ in self.given if of == version}
        if (gift in self.given) != remove:
            assert (reason, events) == (None, [])
        elif not remove and emoji not in different and len(different) >= 2:
            assert reason == "REACTIONS_LIMIT"
        else:
            (self.given.remove if remove else self.given.add)(gift)
            (event,) = events
            assert isinstance(event, domain.ReactionAdded | domain.ReactionRemoved)
            assert event.count == self.count(version, emoji)
            assert event.emojis == len({which for of, which, _ in self.given if of == version})

    @rule(version=places)
    def unpin(self, version: int) -> None:
        assert self.apply(lambda _: domain.UnpinMessage(AT, "ada", version), Known())[0] is None
        self.pins = [pin for pin in self.pins if pin != version]

    @rule()
    def keep_and_restore(self) -> None:
        adapter = TypeAdapter(domain.Conversation)
        assert adapter.validate_json(adapter.dump_json(self.state)) == self.state

    @invariant()
    def agrees(self) -> None:
        if self.state.profile is not None:
            assert list(self.state.profile.pins) == self.pins
        assert len(self.state.recent.young) + len(self.state.recent.old) <= 10
        assert self.state.messages == len(self.senders)


MessagesMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=50)
TestMessages = MessagesMachine.TestCase
