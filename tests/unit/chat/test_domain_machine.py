"""A conversation driven by random commands, beside a model that remembers everything and is as naive as can be."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import TypeAdapter

from services.chat import domain, wire

USERS = ("ada", "bob", "cy", "dee", "eve")
users = st.sampled_from(USERS)
some_users = st.lists(users, min_size=1, max_size=4)


class ConversationMachine(RuleBasedStateMachine):
    """Every command is tried on the domain and on the model; both must agree on what happens, and on what is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.state = domain.initial()
        self.clock = 1_700_000_000_000_000
        self.members: dict[str, domain.Role] = {}
        self.messages: set[int] = set()
        self.written: list[domain.Event] = []

    def apply(self, command: domain.Command) -> str | None:
        """Run a command; gives the reason it was refused for."""
        self.clock += 1
        try:
            events = domain.decide(self.state, command)
        except domain.Refused as refused:
            return refused.reason
        for event in events:
            before = self.state
            self.state = domain.evolve(before, event)
            assert self.state.version == before.version + 1
            self.written.append(event)
            # What goes into the log comes out of it.
            assert wire.decode(wire.encode(event, self.state.version)) == event
        return None

    @initialize(owner=users, others=some_users)
    def create(self, owner: str, others: list[str]) -> None:
        members = (owner, *dict.fromkeys(user for user in others if user != owner))
        roles = tuple((user, domain.Role.OWNER if user == owner else domain.Role.MEMBER) for user in members)
        assert self.apply(domain.CreateConversation(self.clock, owner, domain.Kind.GROUP, roles)) is None
        self.members = dict(roles)

    @rule(actor=users, answers=st.lists(st.integers(0, 60), max_size=2), oversees=st.booleans())
    def send(self, actor: str, answers: list[int], oversees: bool) -> None:
        reason = self.apply(domain.SendMessage(self.clock, actor, b"\n\x02hi", tuple(answers), oversees))
        if actor not in self.members:
            assert reason == ("NOT_A_MEMBER" if oversees else "NOT_FOUND")
        elif not self.messages.issuperset(answers):
            assert reason == "NO_SUCH_MESSAGE"
        else:
            assert reason is None
            self.messages.add(len(self.written))

    @rule(actor=users, wanted=some_users, oversees=st.booleans())
    def add(self, actor: str, wanted: list[str], oversees: bool) -> None:
        reason = self.apply(domain.AddMembers(self.clock, actor, tuple(wanted), oversees))
        if not oversees and actor not in self.members:
            assert reason == "NOT_FOUND"
        elif not oversees and self.members[actor] is not domain.Role.OWNER:
            assert reason == "FORBIDDEN"
        else:
            assert reason is None
            for user in wanted:
                self.members.setdefault(user, domain.Role.MEMBER)

    @rule(actor=users, wanted=some_users, oversees=st.booleans())
    def remove(self, actor: str, wanted: list[str], oversees: bool) -> None:
        reason = self.apply(domain.RemoveMembers(self.clock, actor, tuple(wanted), oversees))
        left = {user: role for user, role in self.members.items() if user not in wanted}
        if not oversees and actor not in self.members:
            assert reason == "NOT_FOUND"
        elif not oversees and set(wanted) != {actor} and self.members[actor] is not domain.Role.OWNER:
            assert reason == "FORBIDDEN"
        elif left != self.members and domain.Role.OWNER not in left.values():
            assert reason == "LAST_OWNER"
        else:
            assert reason is None
            self.members = left

    @rule(code=st.sampled_from(("order.confirmed", "order.delivered")))
    def tell(self, code: str) -> None:
        assert self.apply(domain.PostSystemMessage(self.clock, code, "Told.", {"order_id": "1"})) is None
        self.messages.add(len(self.written))

    @rule()
    def create_again(self) -> None:
        again = domain.CreateConversation(self.clock, "ada", domain.Kind.GROUP, (("ada", domain.Role.OWNER),))
        assert self.apply(again) == "ALREADY_EXISTS"

    @rule()
    def keep_and_restore(self) -> None:
        adapter = TypeAdapter(domain.Conversation)
        assert adapter.validate_json(adapter.dump_json(self.state)) == self.state

    @invariant()
    def agrees(self) -> None:
        profile = self.state.profile
        assert self.state.version == len(self.written)
        assert {} if profile is None else {user: m.role for user, m in profile.members.items()} == self.members
        for version in range(len(self.written) + 3):
            assert domain.is_message(self.state, version) == (version in self.messages)

    @invariant()
    def replays_to_the_same(self) -> None:
        state = domain.initial()
        for event in self.written:
            state = domain.evolve(state, event)
        assert state == self.state


ConversationMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestConversation = ConversationMachine.TestCase
