"""Reports of a message and a user's standing, as they are decided, written and read back."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tradewind.chat.v1 import chat_pb2, moderation_pb2

from services.chat.domain import Refused
from services.chat.moderation import kinds, projections
from services.chat.moderation.domain import reports, standing
from services.ledger.ids import AggregateId

TIMES = st.integers(1, 2_000_000_000_000_000)
USERS = st.sampled_from(["ada", "bob", "cy", "chief", "second"])
WORDS = st.builds(lambda text: chat_pb2.MessageContent(text=text).SerializeToString(), st.text(max_size=20))
NOTES = WORDS.map(lambda words: base64.b64encode(words).decode())

REPORTS = st.builds(reports.Report, TIMES, USERS, st.just(""), st.integers(1, 8), WORDS, st.just("ada"))
RESOLVES = st.builds(reports.Resolve, TIMES, USERS, st.just("bot"), st.sampled_from(reports.Resolution), NOTES, TIMES)
BANS = st.builds(standing.BanUser, TIMES, USERS, st.just(""), st.just("ada"), st.just(0) | TIMES, NOTES)
UNBANS = st.builds(standing.UnbanUser, TIMES, USERS, st.just(""))


def played(kind: Any, commands: list[Any]) -> tuple[Any, list[Any]]:
    """Decide commands one after the other; what log and store hold must say the same when it is read back."""
    state, written = kind.initial(), []
    for command in commands:
        try:
            events = kind.decide(state, command)
        except Refused:
            continue
        for event in events:
            written.append(event)
            assert kind.decode(kind.encode(event, len(written))) == event
            state = kind.evolve(state, event)
    return state, written


@given(st.lists(REPORTS | RESOLVES, max_size=30))
def test_reports_count_each_user_once_and_are_decided_once_a_round(commands: list[Any]) -> None:
    state, events = played(kinds.REPORT, commands)
    reporters = [event.actor for event in events if isinstance(event, reports.Reported)]
    assert len(reporters) == len(set(reporters)) == len(state.reporters)
    waiting: list[str] = []
    decided: reports.Resolved | None = None
    for event in events:
        if isinstance(event, reports.Resolved):
            assert decided is None
            assert waiting
            decided = event
        else:
            waiting = [*waiting, event.actor] if decided is None else [event.actor]
            decided = None
    assert (state.count, sum(state.reasons.values()), state.resolved) == (len(waiting), len(waiting), decided)


@given(st.lists(REPORTS | RESOLVES, min_size=1, max_size=12))
def test_a_reported_message_has_one_place_in_one_list(commands: list[Any]) -> None:
    """Whatever the entries, what the rows add up to is one row, at the same place as long as the message is reported."""
    aggregate, rows, places = AggregateId("acme", projections.REPORT, "c/7"), {}, set()
    state = kinds.REPORT.initial()
    for command in commands:
        try:
            events = kinds.REPORT.decide(state, command)
        except Refused:
            continue
        for event in events:
            state = kinds.REPORT.evolve(state, event)
        if events:
            for row in kinds.REPORT.rows(aggregate, state, [(1, event) for event in events]):
                if row.table in (projections.OPEN, projections.RESOLVED):
                    rows[row.table, row.key] = row.value
                    places.add(row.key)
    there = [(table, value) for (table, _), value in rows.items() if value is not None]
    assert len(there) == bool(state.reporters)
    assert len(places) <= 1
    for table, value in there:
        shown = moderation_pb2.ReportedMessage.FromString(value)
        assert table == (projections.RESOLVED if shown.resolution else projections.OPEN)
        assert (shown.conversation_id, shown.message_version, shown.report_count) == ("c", 7, state.count)


def test_reports_of_one_message_are_bounded() -> None:
    commands = [reports.Report(1, f"u{number}", "", 1, b"", "ada") for number in range(reports.MOST_REPORTERS + 5)]
    state, events = played(kinds.REPORT, commands)
    assert len(events) == state.count == reports.MOST_REPORTERS


@given(st.lists(BANS | UNBANS, max_size=20))
def test_the_last_ban_stands_until_it_is_taken_back(commands: list[Any]) -> None:
    state, events = played(kinds.STANDING, commands)
    last = events[-1] if events else None
    assert state.ban == (last if isinstance(last, standing.UserBanned) else None)
    assert all(not (isinstance(event, standing.UserBanned) and event.actor == "ada") for event in events)


def test_nobody_bans_itself_by_a_report() -> None:
    state, _ = played(kinds.REPORT, [reports.Report(1, "bob", "", 1, b"", "ada")])
    command = reports.Resolve(2, "ada", "", reports.Resolution.AUTHOR_BANNED, "")
    try:
        reports.decide(state, command)
    except Refused as refused:
        assert refused.reason == "FORBIDDEN"
    else:
        raise AssertionError("it was decided")
