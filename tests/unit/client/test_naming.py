"""Every nick of a file has a user id of its own, which services take."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.cli.naming import user_id_of

from services.runtime.validation import validate

nicks = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)


@given(nicks)
@example("brad[] ")
@example("\u202e" * 128)
@example("nick:")
def test_a_nick_becomes_a_user_id(nick: str) -> None:
    found = user_id_of(nick)
    request = pb.SendMessageRequest(
        request_id="01890a5d-ac96-774b-bcce-b302099a8057",
        conversation_id="crew",
        content=chat_pb2.MessageContent(text="hi"),
        sender_id=found,
    )
    validate(request)


@given(nicks, nicks)
@example(" ", "nick:%20")
def test_different_nicks_are_different_users(one: str, other: str) -> None:
    assert (user_id_of(one) == user_id_of(other)) == (one == other)


@pytest.mark.parametrize("nick", ["bob", "[ann]`^{x}|_-", "Mary Ann", "张伟", "👍", "a%20b"])
def test_what_may_be_a_user_id_stays(nick: str) -> None:
    assert user_id_of(nick) == nick
