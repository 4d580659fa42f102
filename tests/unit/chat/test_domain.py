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


def test_what_is_remembered_of_membership_changes_is_bounded_and_forgets_the_oldest() -> None:
    state = after(group("ada", "bob"))
    for _ in range(domain.MAX_RANGES + 10):
        for event in (
            domain.MessageSent(AT, "ada", "", b""),
            domain.MembersAdded(AT, "ada", "", (("cy", Role.MEMBER),)),
        ):
            state = domain.evolve(state, event)
    assert state.profile is not None
    assert len(state.profile.silent) == domain.MAX_RANGES
    assert not domain.is_message(state, state.version)
    assert domain.is_message(state, state.version - 1)
    assert not domain.is_message(state, state.version + 1)
    assert not domain.is_message(state, 0)
