"""What is pressed and answered, as it is decided, written and read back; and who may post what is pressed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradewind.chat.v1 import bot_service_pb2, chat_pb2

from services.chat.access import Actor
from services.chat.bots import cards, domain, kind, wire
from services.chat.bots.sharing import Share
from services.chat.domain import Refused
from services.ledger.cursor import Frame
from services.ledger.ids import AggregateId
from services.ledger.varint import field

WORDS = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=3)
PRESSES = st.builds(
    domain.Press, st.integers(1, 1 << 50), st.text(min_size=1, max_size=5), st.just("bot"), st.just("c"), st.integers(1, 9),
    st.just("yes"), st.builds(lambda words: chat_pb2.MessageContent(attributes=words).SerializeToString(deterministic=True), WORDS),
)  # fmt: skip
ANSWERS = st.builds(
    domain.Answer, st.integers(1, 1 << 50), st.just("bot"), st.integers(1, 9), st.booleans(), st.text(max_size=5), WORDS
)


@given(st.lists(PRESSES | ANSWERS, max_size=20))
def test_versions_are_dense_and_the_last_answer_to_a_press_is_kept(commands: list[domain.ActionCommand]) -> None:
    aggregate, state = AggregateId("acme", kind.NAME, "bot"), domain.initial()
    events: list[domain.ActionChange] = []
    for command in commands:
        try:
            decided = domain.decide(state, command)
        except Refused as refused:
            assert refused.reason == "NO_SUCH_ACTION"
            continue
        for event in decided:
            events.append(event)
            encoded = kind.ACTIONS.encode(event, len(events))
            assert bot_service_pb2.ActionEvent.FromString(encoded).version == len(events)
            assert kind.ACTIONS.decode(encoded) == event
            state = domain.evolve(state, event)
    assert state.version == len(events)
    rows = kind.ACTIONS.rows(aggregate, state, list(enumerate(events, 1)))
    kept = {row.key: bot_service_pb2.ActionAnswer.FromString(row.value or b"").text for row in rows}
    answered = {kind.key(each.press_version): each.text for each in events if isinstance(each, domain.Answered)}
    assert kept == answered


def content(url: str) -> chat_pb2.MessageContent:
    action = chat_pb2.CardAction(id="yes", label="Yes", url=url)
    return chat_pb2.MessageContent(parts=[chat_pb2.Part(card=chat_pb2.Card(title="?", actions=[action]))])


def test_who_may_post_what_is_pressed() -> None:
    user = Actor("acme", "ada", "", False, False)
    cards.require_postable(content("https://tradewind.example"), user)
    cards.require_postable(content(""), Actor("acme", "ada", "bot", True, False))
    cards.require_postable(content(""), Actor("acme", "bot", "", True, True))
    for nobody in (user, Actor("acme", "chief", "", True, False)):
        with pytest.raises(Refused):
            cards.require_postable(content(""), nobody)


def test_what_is_forwarded_keeps_its_links_alone() -> None:
    said = content("https://tradewind.example")
    said.parts[0].card.actions.add(id="no", label="No")
    cards.without_presses(said)
    assert [action.id for action in said.parts[0].card.actions] == ["yes"]
    assert cards.action_of(said, "yes") is None


@given(st.integers(1, 5), st.lists(st.sampled_from("abcdefgh"), max_size=600))
def test_shares_divide_what_is_pressed_and_tell_how_far_they_are(count: int, conversations: list[str]) -> None:
    aggregate, given_in_all = AggregateId("acme", kind.NAME, "bot"), []
    for index in range(count):
        share = Share(bot_service_pb2.ActionShare(index=index, count=count), 0)
        told = 0
        for version, name in enumerate(conversations, 1):
            event = wire.encode(domain.Pressed(1, "ann", "", name, 1, "yes"), version)
            found = share.of(Frame(aggregate, version, version, field(2, event)))
            if found is not None:
                told = found.upto_version
                given_in_all += [each.version for each in found.events]
                assert all(share.has(each.pressed.conversation_id) for each in found.events)
            assert version - told < 256
    assert sorted(given_in_all) == list(range(1, len(conversations) + 1))
