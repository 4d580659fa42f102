"""A conversation driven by random commands, beside a model that remembers everything and is as naive as can be."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import TypeAdapter

from services.chat import domain, wire
from services.chat.domain import Role

USERS = ("ada", "bob", "cy", "dee", "eve")
RANK = {Role.READER: 1, Role.MEMBER: 2, Role.MODERATOR: 3, Role.ADMIN: 4, Role.OWNER: 5}
SECOND = 1_000_000
users = st.sampled_from(USERS)
some_users = st.lists(users, min_size=1, max_size=4)
durations = st.sampled_from((0, 1, 5))
texts = st.sampled_from((None, "", "Crew", "News"))


class ConversationMachine(RuleBasedStateMachine):
    """Every command is tried on the domain and on the model; both must agree on what happens, and on what is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.state = domain.initial()
        self.clock = 1_700_000_000_000_000
        self.roles: dict[str, Role] = {}
        self.bans: dict[str, int] = {}
        self.mutes: dict[str, int] = {}
        self.called: dict[str, object] = {"title": "", "picture": "", "open": False, "slow_mode_s": 0}
        self.words: dict[str, str] = {}
        self.spoken: list[tuple[str, int]] = []
        self.written: list[domain.Event] = []

    def apply(self, command: domain.Command) -> str | None:
        """Run a command; gives the reason it was refused for."""
        try:
            events = domain.decide(self.state, command)
        except domain.Refused as refused:
            return refused.reason
        for event in events:
            before = self.state
            self.state = domain.evolve(before, event)
            assert self.state.version == before.version + 1
            assert event.messages == self.state.messages
            self.written.append(event)
            # What goes into the log comes out of it.
            assert wire.decode(wire.encode(event, self.state.version)) == event
        return None

    def lasts(self, sanctions: dict[str, int], user: str) -> bool:
        return user in sanctions and (sanctions[user] == 0 or sanctions[user] > self.clock)

    def stopped(self, actor: str, least: Role, oversees: bool) -> str | None:
        """Why somebody may not do what needs at least a role."""
        if oversees:
            return None
        if actor not in self.roles:
            return "NOT_A_MEMBER" if self.called["open"] else "NOT_FOUND"
        return None if RANK[self.roles[actor]] >= RANK[least] else "FORBIDDEN"

    def beneath(self, actor: str, role: Role, oversees: bool) -> bool:
        return oversees or self.roles[actor] is Role.OWNER or RANK[self.roles[actor]] > RANK[role]

    def without(self, gone: set[str]) -> dict[str, Role]:
        return {user: role for user, role in self.roles.items() if user not in gone}

    @initialize(owner=users, others=some_users)
    def create(self, owner: str, others: list[str]) -> None:
        members = (owner, *dict.fromkeys(user for user in others if user != owner))
        roles = tuple((user, Role.OWNER if user == owner else Role.MEMBER) for user in members)
        assert self.apply(domain.CreateConversation(self.clock, owner, domain.Kind.GROUP, roles)) is None
        self.roles = dict(roles)

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds: int) -> None:
        self.clock += seconds * SECOND + 1

    @rule(actor=users, unknown=st.sampled_from((0, 0, 0, 9)), oversees=st.booleans())
    def send(self, actor: str, unknown: int, oversees: bool) -> None:
        reason = self.apply(domain.SendMessage(self.clock, actor, b"\n\x02hi", unknown, oversees))
        slow = self.called["slow_mode_s"]
        assert isinstance(slow, int)
        last = max((at for user, at in self.spoken if user == actor), default=0)
        if actor not in self.roles:
            assert reason == ("NOT_A_MEMBER" if oversees or self.called["open"] else "NOT_FOUND")
        elif self.roles[actor] is Role.READER:
            assert reason == "FORBIDDEN"
        elif self.lasts(self.mutes, actor):
            assert reason == "MUTED"
        elif unknown:
            assert reason == "NO_SUCH_MESSAGE"
        elif RANK[self.roles[actor]] < RANK[Role.MODERATOR] and self.clock < last + slow * SECOND:
            assert reason == "SLOW_MODE"
        else:
            assert reason is None
            self.spoken.append((actor, self.clock))

    @rule(actor=users, wanted=some_users, oversees=st.booleans())
    def add(self, actor: str, wanted: list[str], oversees: bool) -> None:
        reason = self.apply(domain.AddMembers(self.clock, actor, tuple(wanted), oversees=oversees))
        stopped = self.stopped(actor, Role.MODERATOR, oversees)
        if stopped is None and any(user not in self.roles and self.lasts(self.bans, user) for user in wanted):
            stopped = "BANNED"
        assert reason == stopped
        if reason is None:
            for user in wanted:
                self.roles.setdefault(user, Role.MEMBER)

    @rule(actor=users)
    def join(self, actor: str) -> None:
        reason = self.apply(domain.Join(self.clock, actor))
        if actor in self.roles:
            assert reason is None
        elif not self.called["open"]:
            assert reason == "NOT_FOUND"
        elif self.lasts(self.bans, actor):
            assert reason == "BANNED"
        else:
            assert reason is None
            self.roles[actor] = Role.MEMBER

    @rule(actor=users, wanted=some_users, oversees=st.booleans())
    def remove(self, actor: str, wanted: list[str], oversees: bool) -> None:
        reason = self.apply(domain.RemoveMembers(self.clock, actor, tuple(wanted), oversees=oversees))
        left = self.without(set(wanted))
        itself = set(wanted) == {actor}
        stopped = self.stopped(actor, Role.READER if itself else Role.MODERATOR, oversees)
        if stopped is not None:
            assert reason == stopped
        elif not all(
            user == actor or self.beneath(actor, self.roles[user], oversees) for user in wanted if user in self.roles
        ):
            assert reason == "FORBIDDEN"
        elif left != self.roles and Role.OWNER not in left.values():
            assert reason == "LAST_OWNER"
        else:
            assert reason is None
            self.forget(left)

    def forget(self, left: dict[str, Role]) -> None:
        self.spoken = [(user if user in left else f"{user}, once", at) for user, at in self.spoken]
        self.roles = left

    @rule(actor=users, user=users, role=st.sampled_from(Role), oversees=st.booleans())
    def set_role(self, actor: str, user: str, role: Role, oversees: bool) -> None:
        reason = self.apply(domain.SetRole(self.clock, actor, user, role, oversees=oversees))
        stopped = self.stopped(actor, Role.ADMIN, oversees)
        if stopped is not None:
            assert reason == stopped
        elif user not in self.roles:
            assert reason == "NO_SUCH_MEMBER"
        elif self.roles[user] is role:
            assert reason is None
        elif not (
            self.beneath(actor, role, oversees) and (user == actor or self.beneath(actor, self.roles[user], oversees))
        ):
            assert reason == "FORBIDDEN"
        elif role is not Role.OWNER and Role.OWNER not in self.without({user}).values():
            assert reason == "LAST_OWNER"
        else:
            assert reason is None
            self.roles[user] = role

    @rule(actor=users, user=users, seconds=durations, oversees=st.booleans())
    def ban(self, actor: str, user: str, seconds: int, oversees: bool) -> None:
        until_us = self.clock + seconds * SECOND if seconds else 0
        reason = self.apply(domain.Ban(self.clock, actor, user, until_us, oversees=oversees))
        stopped = self.stopped(actor, Role.MODERATOR, oversees)
        if stopped is not None:
            assert reason == stopped
        elif user in self.roles and (user == actor or not self.beneath(actor, self.roles[user], oversees)):
            assert reason == "FORBIDDEN"
        elif user in self.roles and Role.OWNER not in self.without({user}).values():
            assert reason == "LAST_OWNER"
        else:
            assert reason is None
            self.forget(self.without({user}))
            self.bans[user] = until_us

    @rule(actor=users, user=users, oversees=st.booleans())
    def unban(self, actor: str, user: str, oversees: bool) -> None:
        reason = self.apply(domain.Unban(self.clock, actor, user, oversees=oversees))
        assert reason == self.stopped(actor, Role.MODERATOR, oversees)
        if reason is None:
            self.bans.pop(user, None)

    @rule(actor=users, user=users, seconds=durations, oversees=st.booleans())
    def mute(self, actor: str, user: str, seconds: int, oversees: bool) -> None:
        until_us = self.clock + seconds * SECOND if seconds else 0
        reason = self.apply(domain.Mute(self.clock, actor, user, until_us, oversees=oversees))
        stopped = self.stopped(actor, Role.MODERATOR, oversees)
        if stopped is not None:
            assert reason == stopped
        elif user == actor and user in self.roles:
            assert reason == "FORBIDDEN"
        elif user not in self.roles:
            assert reason == "NO_SUCH_MEMBER"
        elif not self.beneath(actor, self.roles[user], oversees):
            assert reason == "FORBIDDEN"
        else:
            assert reason is None
            self.mutes[user] = until_us

    @rule(user=users)
    def unmute(self, user: str) -> None:
        assert self.apply(domain.Unmute(self.clock, "chief", user, oversees=True)) is None
        self.mutes.pop(user, None)

    @rule(
        actor=users,
        title=texts,
        picture=texts,
        opened=st.sampled_from((None, True, False)),
        slow=st.sampled_from((None, 0, 2)),
    )
    def change(self, actor: str, title: str | None, picture: str | None, opened: bool | None, slow: int | None) -> None:
        wanted = {"title": title, "picture": picture, "open": opened, "slow_mode_s": slow}
        words = {} if title is None else {"of": title, "kept": "yes"}
        removed = () if picture is None else ("of",)
        command = domain.ChangeConversation(self.clock, actor, title, picture, words, removed, opened, slow)
        reason = self.apply(command)
        assert reason == self.stopped(actor, Role.ADMIN, False)
        if reason is None:
            self.called.update({name: value for name, value in wanted.items() if value is not None})
            self.words = {**{k: v for k, v in self.words.items() if k not in removed}, **words}

    @rule(code=st.sampled_from(("order.confirmed", "order.delivered")))
    def tell(self, code: str) -> None:
        assert self.apply(domain.PostSystemMessage(self.clock, code, "Told.", {"order_id": "1"})) is None

    @rule()
    def create_again(self) -> None:
        again = domain.CreateConversation(self.clock, "ada", domain.Kind.GROUP, (("ada", Role.OWNER),))
        assert self.apply(again) == "ALREADY_EXISTS"

    @rule()
    def keep_and_restore(self) -> None:
        adapter = TypeAdapter(domain.Conversation)
        assert adapter.validate_json(adapter.dump_json(self.state)) == self.state

    @invariant()
    def agrees(self) -> None:
        profile = self.state.profile
        assert self.state.version == len(self.written)
        assert self.state.messages == len(self.spoken)
        if profile is None:
            return
        assert {user: member.role for user, member in profile.members.items()} == self.roles
        assert {name: getattr(profile, name) for name in self.called} == self.called
        assert profile.attributes == self.words
        for user in USERS:
            assert domain.lasts(profile.bans, user, self.clock) == self.lasts(self.bans, user)
            assert domain.lasts(profile.mutes, user, self.clock) == self.lasts(self.mutes, user)
            said = [at for sender, at in self.spoken if sender == user]
            known = domain.sender(self.state.senders, user)
            assert (known[0], known[2]) == (len(said), said[-1]) if known else not said

    @invariant()
    def replays_to_the_same(self) -> None:
        state = domain.initial()
        for event in self.written:
            state = domain.evolve(state, event)
        assert state == self.state


ConversationMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestConversation = ConversationMachine.TestCase
