"""The terminal client without a terminal: what is typed, and how people's words look."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradewind.chat.v1 import chat_pb2
from tradewind.cli.terminal import looks, typed
from tradewind.cli.terminal.room import MOST_LINES, Line, Room


def event(version: int, **fields: object) -> chat_pb2.ConversationEvent:
    return chat_pb2.ConversationEvent(version=version, actor_id="ann", **fields)  # type: ignore[arg-type]


def said(version: int, text: str = "x") -> chat_pb2.ConversationEvent:
    return event(version, message=chat_pb2.MessageContent(text=text))


def test_words_and_commands_are_told_apart() -> None:
    assert typed.read("hello /there") == "hello /there"
    assert typed.read("//etc/hosts") == "/etc/hosts"
    assert typed.read('/group bob "c d" -- Tea') == typed.Command(
        "group", ("bob", "c d", "--", "Tea"), 'bob "c d" -- Tea'
    )
    for text, part in (("/dance", "no /dance"), ("/direct", "USER"), ('/add "open', "No closing quotation")):
        with pytest.raises(typed.Mistyped, match=part):
            typed.read(text)
    assert all(f"/{name}" in typed.told() for name in typed.COMMANDS)


@given(st.text())
def test_whatever_is_typed_is_words_a_command_or_mistyped(text: str) -> None:
    try:
        found = typed.read(text)
    except typed.Mistyped:
        assert text.startswith("/")
    else:
        assert isinstance(found, typed.Command) == (text.startswith("/") and not text.startswith("//"))


@given(st.text(max_size=200), st.text(min_size=1, max_size=60))
def test_words_of_others_command_no_terminal(text: str, name: str) -> None:
    room = Room("c", "me")
    line = Line(1, name, datetime.now(UTC), text, (7,))
    shown = looks.line_of(line, room).plain
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\x7f\x9b")
    assert "\n" not in looks.name_of(name)


def test_a_room_holds_a_bounded_number_of_lines() -> None:
    room = Room("c", "me")
    for version in range(1, MOST_LINES + 50):
        assert room.apply(said(version)) == [version]
    assert len(room.lines) == MOST_LINES
    assert next(iter(room.lines)) == 50


def test_what_is_said_of_lines_that_are_not_there_changes_nothing() -> None:
    room = Room("c", "me")
    for number, which in enumerate(("edited", "deleted", "pinned", "unpinned", "reaction_added", "reaction_removed")):
        changed = event(number + 1)
        getattr(changed, which).message_version = 99
        assert room.apply(changed) == []
    assert room.version == 6
    assert room.lines == {}


def test_who_came_and_went_is_a_line() -> None:
    room = Room("c", "me")
    room.apply(event(1, members_added=chat_pb2.MembersAdded(members=[chat_pb2.Member(user_id="bob")])))
    room.apply(event(2, members_removed=chat_pb2.MembersRemoved(user_ids=["ann"])))
    assert [(line.sender, line.text) for line in room.seen()] == [("", "ann added bob"), ("", "ann left")]
