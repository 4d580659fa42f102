"""Who may be handed which frame: told at a glance, and never wrongly let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chat import domain, frames, wire
from services.chat.access import Actor
from services.chat.subscriptions import Subscription
from services.ledger.cursor import Frame
from services.ledger.ids import AggregateId
from services.ledger.varint import field

WHERE = AggregateId("acme", "conversation", "c-1")
ids = st.text(min_size=1, max_size=128)


def run(first: int, *events: domain.Event, wrapped: bool) -> Frame:
    """A frame of these events, as the ledger makes it."""
    joined = b"".join(field(2, wire.encode(event, first + at)) for at, event in enumerate(events))
    data = frames.wrap(WHERE, joined) if wrapped else joined
    return Frame(WHERE, first, first + len(events) - 1, data)


@given(ids, st.lists(ids, max_size=3), st.booleans())
def test_a_frame_with_the_readers_removal_never_passes(user_id: str, others: list[str], wrapped: bool) -> None:
    removal = domain.MembersRemoved(5, "ada", "", (*others, user_id))
    reader = Subscription(WHERE, Actor("acme", user_id, "", False, False), 0, 1)
    assert not reader.passes(run(2, removal, wrapped=wrapped))


@pytest.mark.parametrize("wrapped", [True, False])
def test_other_frames_pass(wrapped: bool) -> None:
    said = domain.MessageSent(5, "bob", "", b"\n\x03bob")
    away = domain.MembersRemoved(5, "ada", "", ("bobby", "bo"))
    reader = Subscription(WHERE, Actor("acme", "bob", "", False, False), 0, 1)
    assert reader.passes(run(2, away, wrapped=wrapped))
    overseer = Subscription(WHERE, Actor("acme", "bob", "", True, False), 0, 1)
    assert overseer.passes(run(2, domain.MembersRemoved(5, "ada", "", ("bob",)), wrapped=wrapped))
    # A text that looks like the mark is looked at, and let through then.
    assert not reader.passes(run(3, said, wrapped=wrapped))


def test_what_was_seen_to_be_allowed_passes_and_a_gap_does_not() -> None:
    removal = domain.MembersRemoved(5, "ada", "", ("bob",))
    reader = Subscription(WHERE, Actor("acme", "bob", "", False, False), 0, 9)
    assert reader.passes(run(9, removal, wrapped=False))
    assert not reader.passes(run(12, domain.MessageSent(5, "ada", "", b""), wrapped=False))


def test_a_place_in_doubt_passes_nothing() -> None:
    said = domain.MessageSent(5, "ada", "", b"")
    reader = Subscription(WHERE, Actor("acme", "bob", "", False, False), 0, 1)
    reader.doubt(wake=True)
    assert not reader.passes(run(2, said, wrapped=False))
