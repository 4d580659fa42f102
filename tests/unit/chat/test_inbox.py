"""What a user sets for a conversation, beside a model that moves flags about as people think of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chat import projections, wire
from services.chat.domain import place
from services.chat.domain.inbox import Flags, Sums, is_archived, is_hidden, is_muted, order
from services.ledger.ids import AggregateId

HERE = AggregateId("acme", projections.PLACE, "c-1/bob")

steps = st.one_of(
    st.tuples(st.just("say"), st.none()),
    st.tuples(st.just("wait"), st.integers(1, 50)),
    st.tuples(st.just("archive"), st.booleans()),
    st.tuples(st.just("hide"), st.booleans()),
    st.tuples(st.just("mute"), st.sampled_from([0, place.FOR_EVER, 10, 30])),
    st.tuples(st.just("read a channel"), st.booleans()),
    st.tuples(st.just("hide a message"), st.integers(1, 9)),
)


class Model:
    """Flags that are moved when something happens, not worked out when somebody looks."""

    def __init__(self) -> None:
        self.archived = self.hidden = self.said_since = False
        self.muted_until = 0

    def muted(self, now: int) -> bool:
        return self.muted_until == place.FOR_EVER or now < self.muted_until

    def moved(self, now: int) -> None:
        """Bring back what a message was said in, once it may come back."""
        if self.said_since and not self.muted(now):
            self.archived = self.said_since = False


def command(
    what: str, value: int | bool | None, now: int, version: int, *, lifted: bool = False
) -> place.PlaceCommand | None:
    match what:
        case "archive":
            return place.Archive(now, "bob", version if value else 0)
        case "hide":
            return place.Hide(now, "bob", version if value else 0)
        case "mute":
            lasts = int(value or 0)
            return place.Silence(now, "bob", now + lasts if lasts > 0 else lasts, lifted=lifted)
        case "read a channel":
            return place.JoinChannel(now, "bob", 77) if value else place.LeaveChannel(now, "bob")
        case "hide a message":
            return place.HideMessage(now, "bob", int(value or 0), "ann")
    return None


@given(st.lists(steps, max_size=40))
def test_flags_mean_what_people_think_of_them(taken: list[tuple[str, int | bool | None]]) -> None:
    state, model, now, version, said = place.initial(), Model(), 1_000, 1, 0
    row = None
    for what, value in taken:
        if what == "wait":
            now += int(value or 0)
        elif what == "say":
            version += 1
            said, model.said_since, model.hidden = version, model.archived, False
        elif what == "archive":
            model.archived, model.said_since = bool(value), False
        elif what == "hide":
            model.hidden = bool(value)
        flags = Flags(state.archived, state.hidden, state.muted_until_us)
        lifted = flags.archived > 0 and not is_archived(flags, said, now)
        wanted = command(what, value, now, version, lifted=lifted)
        for event in place.decide(state, wanted) if wanted is not None else ():
            encoded = wire.encode_place(event, state.version + 1)
            assert wire.decode_place(encoded) == event
            state = place.evolve(state, event)
            for written in projections.place_rows(HERE, state, [(state.version, event)]):
                row = written.value if written.table == projections.FLAGS else row
        if what == "mute":
            model.muted_until = state.muted_until_us
        model.moved(now)
        flags = Flags(state.archived, state.hidden, state.muted_until_us)
        assert is_muted(flags, now) == model.muted(now)
        assert is_archived(flags, said, now) == model.archived
        assert is_hidden(flags, said) == model.hidden
        assert (row or b"0 0 0") == " ".join(map(str, flags)).encode()


@given(st.lists(steps, max_size=20))
def test_what_is_so_already_is_no_event(taken: list[tuple[str, int | bool | None]]) -> None:
    state = place.initial()
    for what, value in taken:
        wanted = command(what, value, 5, 3)
        if wanted is None:
            continue
        for event in place.decide(state, wanted):
            state = place.evolve(state, event)
        assert not place.decide(state, wanted) or isinstance(wanted, place.HideMessage)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans(), st.booleans()), min_size=1, max_size=20),
    st.data(),
)
def test_each_conversation_counts_in_one_group(
    conversations: list[tuple[int, int, bool, bool]], data: st.DataObject
) -> None:
    sums = Sums()
    for unread, mentions, archived, muted in conversations:
        sums.add(unread, mentions, archived=archived, muted=muted)
    assert sums.unread + sums.muted_unread + sums.archived_unread == sum(each[0] for each in conversations)
    assert sums.mentions + sums.muted_mentions + sums.archived_mentions == sum(each[1] for each in conversations)
    assert sums.conversations == sum(
        1 for unread, _, archived, muted in conversations if unread and not (archived or muted)
    )
    for unread, mentions, archived, muted in data.draw(st.permutations(conversations)):
        sums.add(unread, mentions, archived=archived, muted=muted, times=-1)
    assert sums == Sums()


@pytest.mark.parametrize(("older", "newer"), [((5, "b"), (6, "a")), ((5, "a"), (5, "b")), ((9, "z"), (2**40, "a"))])
def test_places_sort_by_time_then_by_name(older: tuple[int, str], newer: tuple[int, str]) -> None:
    assert order(*older) < order(*newer)
