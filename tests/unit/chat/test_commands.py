"""The quick way of a plain send says nothing else than the long way, and lets nothing through that the contract refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain
from services.chat.access import Actor
from services.chat.contents import Contents
from services.runtime.validation import validate

ADA = Actor("acme", "ada", "", False, False)
WHERE = commands.aggregate_of(ADA, "c-1")
unsealed = Contents().sealed_text

request_ids = st.one_of(
    st.just("0193a0de-0000-7000-8000-00000000000A"),
    st.from_regex(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\n?", fullmatch=True),
    st.text("0123456789abcdef-", min_size=34, max_size=38),
)
texts = st.one_of(st.text(max_size=50), st.sampled_from(("x" * 16_384, "x" * 16_385, "é" * 8_190, "é" * 8_193)))
sends = st.builds(
    pb.SendMessageRequest,
    request_id=request_ids,
    conversation_id=st.just("c-1"),
    sender_id=st.sampled_from(("", "", "", "bob")),
    content=st.one_of(
        st.builds(chat_pb2.MessageContent, text=texts),
        st.builds(
            chat_pb2.MessageContent,
            text=texts,
            reply_to=st.lists(st.integers(0, 3), max_size=3),
            attributes=st.dictionaries(st.sampled_from(("", "k")), st.just("v"), max_size=1),
            thread_root=st.integers(0, 1),
            mentions=st.one_of(st.none(), st.builds(chat_pb2.Mentions, all=st.booleans())),
            parts=st.lists(st.just(chat_pb2.Part(order=chat_pb2.OrderCard(order_id="7"))), max_size=1),
        ),
        st.none(),
    ),
)


@given(sends)
def test_what_is_plain_is_valid_and_leads_to_the_same_command(said: pb.SendMessageRequest) -> None:
    plain = commands.plain_send(said, WHERE, ADA, 5, None, unsealed)
    if plain is not None:
        validate(said)
        assert plain == (WHERE, *commands.send(said, ADA, 5, None))


def test_an_ordinary_message_is_plain() -> None:
    said = pb.SendMessageRequest(request_id="0193a0de-0000-7000-8000-00000000000a", conversation_id="c-1")
    said.content.text = "hello"
    assert commands.plain_send(said, WHERE, ADA, 5, None, unsealed) is not None
    assert commands.plain_send(said, WHERE, ADA, 5, None, lambda *_: None) is None


def test_a_message_needs_a_text_or_attributes() -> None:
    said = pb.SendMessageRequest(request_id="0193a0de-0000-7000-8000-00000000000a", conversation_id="c-1")
    said.content.reply_to.append(2)
    with pytest.raises(domain.Refused) as caught:
        commands.send(said, ADA, 5, None)
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "content.text")
    said.content.attributes["kind"] = "wave"
    command, _ = commands.send(said, ADA, 5, None, unknown_reply=2)
    assert command.unknown_reply == 2


def test_user_ids_that_would_not_fit_into_an_event_are_refused() -> None:
    request = pb.CreateConversationRequest(
        request_id="0193a0de-0000-7000-8000-00000000000a",
        kind=chat_pb2.CONVERSATION_KIND_GROUP,
        member_ids=[f"{number:05}" + "語" * 120 for number in range(4000)],
    )
    with pytest.raises(domain.Refused) as caught:
        commands.create(request, ADA, 5, None)
    assert caught.value.field == "member_ids"


def test_a_service_that_acts_for_nobody_names_the_owner() -> None:
    robot = Actor("acme", "importer", "", True, True)
    request = pb.CreateConversationRequest(
        request_id="0193a0de-0000-7000-8000-00000000000a",
        kind=chat_pb2.CONVERSATION_KIND_GROUP,
        member_ids=["ada", "bob"],
    )
    _, command, _ = commands.create(request, robot, 5, None)
    assert command.members == (("ada", domain.Role.OWNER), ("bob", domain.Role.MEMBER))
    del request.member_ids[:]
    with pytest.raises(domain.Refused):
        commands.create(request, robot, 5, None)


def test_an_edit_leaves_a_message_in_its_place() -> None:
    said = chat_pb2.MessageContent(text="helo", reply_to=[2], thread_root=3, mentions=chat_pb2.Mentions(all=True))
    said.forwarded.sender_id = "cy"
    request = pb.EditMessageRequest(
        content=chat_pb2.MessageContent(text="hello", mentions=chat_pb2.Mentions(user_ids=["bob"]))
    )
    after = chat_pb2.MessageContent.FromString(commands.edited(request, said))
    assert (after.text, list(after.reply_to), after.thread_root, after.forwarded.sender_id) == ("hello", [2], 3, "cy")
    assert list(after.mentions.user_ids) == ["bob"]
    for wrong in (
        chat_pb2.MessageContent(text="x", thread_root=3),
        chat_pb2.MessageContent(text="x", reply_to=[3]),
        chat_pb2.MessageContent(text="x", forwarded=chat_pb2.ForwardedFrom(sender_id="cy")),
        chat_pb2.MessageContent(mentions=chat_pb2.Mentions(all=True)),
    ):
        with pytest.raises(domain.Refused) as caught:
            commands.edited(pb.EditMessageRequest(content=wrong), said)
        assert caught.value.reason == "INVALID_FIELD"
