"""What the domain promises beyond its rules: bounds, sharing, and one direct conversation for two."""

from __future__ import annotations

import pytest

from services.chat import domain
from services.chat.domain import Role

AT = 1_700_000_000_000_000


def after(*commands: domain.Command) -> domain.Conversation:
    state = domain.initial()
    for command in commands:
        for event in domain.decide(state, command):
            state = domain.evolve(state, event)
    return state


def group(*user_ids: str) -> domain.CreateConversation:
    members = tuple((user, Role.MEMBER if at else Role.OWNER) for at, user in enumerate(user_ids))
    return domain.CreateConversation(AT, user_ids[0], domain.Kind.GROUP, members)


def direct(one: str, other: str) -> domain.CreateConversation:
    return domain.CreateConversation(
        AT, one, domain.Kind.DIRECT, ((one, Role.OWNER), (other, Role.OWNER)), meets_existing=True
    )


def refused(state: domain.Conversation, command: domain.Command) -> str:
    with pytest.raises(domain.Refused) as caught:
        domain.decide(state, command)
    return caught.value.reason


def test_a_message_in_a_big_group_shares_all_but_version_and_time() -> None:
    state = after(group(*(f"user-{number}" for number in range(domain.MAX_MEMBERS))))
    spoken = domain.evolve(state, domain.MessageSent(AT + 1, "user-1", "", b""))
    assert spoken.profile is state.profile
    assert (spoken.version, spoken.updated_us) == (2, AT + 1)


def test_a_group_has_its_limit() -> None:
    full = tuple(f"user-{number}" for number in range(domain.MAX_MEMBERS))
    assert refused(domain.initial(), group(*full, "one-more")) == "MEMBERS_LIMIT"
    state = after(group(*full))
    assert refused(state, domain.AddMembers(AT, full[0], ("one-more",))) == "MEMBERS_LIMIT"
    assert domain.decide(state, domain.AddMembers(AT, full[0], (full[7],))) == ()


def test_a_direct_conversation_is_met_and_stays_as_it_is() -> None:
    state = after(direct("ada", "bob"))
    assert domain.decide(state, direct("bob", "ada")) == ()
    assert refused(state, domain.AddMembers(AT, "ada", ("cy",))) == "WRONG_CONVERSATION_KIND"
    assert refused(state, domain.RemoveMembers(AT, "ada", ("ada",))) == "WRONG_CONVERSATION_KIND"
    assert refused(state, domain.AddMembers(AT, "cy", ("cy",))) == "NOT_FOUND"
    assert refused(domain.initial(), direct("ada", "ada")) == "INVALID_FIELD"


def test_the_id_of_a_pair_is_the_same_from_either_side_and_another_in_another_tenant() -> None:
    assert domain.direct_id("acme", "ada", "bob") == domain.direct_id("acme", "bob", "ada")
    others = {
        domain.direct_id("acme", "ada", "bob"),
        domain.direct_id("umbrella", "ada", "bob"),
        domain.direct_id("acme", "adab", "ob"),
        domain.direct_id("acmea", "da", "bob"),
    }
    assert len(others) == 4


def test_nothing_can_be_done_where_nothing_is() -> None:
    nothing = domain.initial()
    assert refused(nothing, domain.SendMessage(AT, "ada", b"")) == "NOT_FOUND"
    assert refused(nothing, domain.SendMessage(AT, "ada", b"", oversees=True)) == "NOT_FOUND"
    assert refused(nothing, domain.AddMembers(AT, "ada", ("bob",), oversees=True)) == "NOT_FOUND"
    assert refused(nothing, domain.PostSystemMessage(AT, "order.confirmed", "", {})) == "NOT_FOUND"


def test_a_message_costs_the_same_however_many_have_spoken() -> None:
    state = after(group("ada", "bob"))
    for number in range(5_000):
        state = domain.evolve(state, domain.MessageSent(AT + number, f"user-{number}", "", b""))
    spoken = domain.evolve(state, domain.MessageSent(AT, "user-7", "", b""))
    shared = [one is other for one, other in zip(state.senders, spoken.senders, strict=True)]
    assert shared.count(False) == 1
    assert max(map(len, spoken.senders)) < 200
    assert domain.sender(spoken.senders, "user-7") == (2, spoken.version, AT)


def test_who_leaves_is_forgotten_as_a_sender() -> None:
    state = after(group("ada", "bob"), domain.SendMessage(AT, "bob", b""), domain.RemoveMembers(AT, "bob", ("bob",)))
    assert domain.sender(state.senders, "bob") is None
    state = domain.evolve(state, domain.MembersAdded(AT, "ada", "", (("bob", Role.MEMBER),)))
    assert state.profile is not None
    assert state.profile.members["bob"].since_messages == state.messages == 1


def test_bans_and_mutes_have_their_limit_and_what_is_over_makes_room() -> None:
    state = after(group("ada", "bob"))
    for number in range(domain.MAX_SANCTIONS):
        state = domain.evolve(state, domain.MemberBanned(AT, "ada", "", f"user-{number}", AT + 10 + number))
    assert refused(state, domain.Ban(AT, "ada", "one-more")) == "SANCTIONS_LIMIT"
    (event,) = domain.decide(state, domain.Ban(AT + 10, "ada", "one-more"))
    state = domain.evolve(state, event)
    assert state.profile is not None
    assert len(state.profile.bans) == domain.MAX_SANCTIONS
    assert domain.lasts(state.profile.bans, "one-more", AT + 10**15)


def test_slow_mode_says_when_to_come_back() -> None:
    slow = domain.ChangeConversation(AT, "ada", slow_mode_s=10)
    state = after(group("ada", "bob"), slow, domain.SendMessage(AT, "bob", b""), domain.SendMessage(AT, "ada", b""))
    with pytest.raises(domain.Refused) as caught:
        domain.decide(state, domain.SendMessage(AT + 4_000_000, "bob", b""))
    assert (caught.value.reason, caught.value.retry_after) == ("SLOW_MODE", 6.0)
    assert domain.decide(state, domain.SendMessage(AT + 4_000_000, "ada", b""))
    assert domain.decide(state, domain.SendMessage(AT + 10_000_000, "bob", b""))


def test_what_is_as_wanted_already_is_no_change() -> None:
    state = after(group("ada", "bob"), domain.ChangeConversation(AT, "ada", title="Crew", attributes={"a": "1"}))
    again = domain.ChangeConversation(
        AT, "ada", title="Crew", attributes={"a": "1"}, remove_attributes=("b",), open=False
    )
    assert domain.decide(state, again) == ()
    many = {f"key-{number}": "" for number in range(domain.MAX_ATTRIBUTES)}
    assert refused(state, domain.ChangeConversation(AT, "ada", attributes=many)) == "INVALID_FIELD"
    assert domain.decide(state, domain.ChangeConversation(AT, "ada", attributes=many, remove_attributes=("a",)))
