"""What goes over the wire: the hand-made encodings are protobuf's own, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import domain, wire
from services.chat.domain import place
from services.chat.frames import delivery, send_result
from services.ledger.varint import read_varint, varint

times = st.integers(0, 4_000_000_000_000_000)
versions = st.integers(1, 2**64 - 1)
texts = st.text(max_size=300)


@given(
    versions,
    times,
    texts,
    st.sampled_from(("", "mailer")),
    texts,
    st.lists(versions, max_size=3, unique=True),
    st.integers(0, 2**40),
)
def test_a_message_is_encoded_as_protobuf_does(
    version: int, at_us: int, actor: str, acting: str, text: str, reply_to: list[int], messages: int
) -> None:
    content = chat_pb2.MessageContent(text=text, reply_to=reply_to, attributes={"b": "2", "a": "1"})
    event = domain.MessageSent(at_us, actor or "ada", acting, wire.content_bytes(content), messages)
    theirs = chat_pb2.ConversationEvent(
        version=version,
        event_time=wire.timestamp(at_us),
        actor_id=actor or "ada",
        acting_service=acting,
        message_count=messages,
        message=content,
    )
    assert wire.encode(event, version) == theirs.SerializeToString(deterministic=True)
    assert wire.decode(wire.encode(event, version)) == event
    assert wire.time_of(wire.encode(event, version)) == at_us


@given(versions, versions, st.integers(0, 2**40), st.lists(texts, max_size=3, unique=True), st.booleans())
def test_a_message_of_a_thread_that_mentions_comes_back_as_it_was(
    version: int, root: int, replies: int, user_ids: list[str], to_all: bool
) -> None:
    content = chat_pb2.MessageContent(
        text="hi", thread_root=root, mentions=chat_pb2.Mentions(user_ids=user_ids, here=to_all)
    )
    about = domain.About(root, replies, tuple(user_ids), to_all)
    event = domain.MessageSent(5, "ada", "", wire.content_bytes(content), 9, about)
    theirs = chat_pb2.ConversationEvent(
        version=version,
        event_time=wire.timestamp(5),
        actor_id="ada",
        message_count=9,
        thread_reply_count=replies,
        message=content,
    )
    assert wire.encode(event, version) == theirs.SerializeToString(deterministic=True)
    assert wire.decode(wire.encode(event, version)) == event


@given(texts.filter(bool), versions, times)
def test_a_result_is_encoded_as_protobuf_does(request_id: str, version: int, at_us: int) -> None:
    theirs = pb.ConverseResponse()
    theirs.results.add(request_id=request_id, version=version, send_time=wire.timestamp(at_us))
    assert send_result(request_id, version, at_us) == theirs.SerializeToString()


@given(st.lists(versions, min_size=1, max_size=5))
def test_a_delivery_is_wrapped_as_protobuf_does(numbers: list[int]) -> None:
    events = [chat_pb2.ConversationEvent(version=number, actor_id="ada") for number in numbers]
    run = pb.WatchResponse(events=events).SerializeToString()
    theirs = pb.ConverseResponse(deliveries=[pb.Delivery(conversation_id="c-1", events=events)])
    assert delivery("c-1", run) == theirs.SerializeToString()


@given(versions)
def test_varints_come_back(number: int) -> None:
    assert read_varint(varint(number), 0) == (number, len(varint(number)))


def test_a_system_message_shows_its_code_and_nobody_as_sender() -> None:
    event = domain.SystemMessagePosted(5, "", "order.confirmed", "Confirmed.", {"order_id": "7"})
    shown = wire.message(wire.encode(event, 3))
    assert shown is not None
    assert (shown.version, shown.sender_id, shown.content.text) == (3, "", "Confirmed.")
    assert dict(shown.content.attributes) == {"order_id": "7", "code": "order.confirmed"}


def test_membership_is_no_message() -> None:
    assert wire.message(wire.encode(domain.MembersRemoved(5, "ada", "", ("bob",)), 2)) is None


def test_an_event_of_a_later_release_is_refused_rather_than_misread() -> None:
    with pytest.raises(ValueError, match="does not know"):
        wire.decode(chat_pb2.ConversationEvent(version=1).SerializeToString())


def test_every_event_comes_back_as_it_was() -> None:
    who = (5, "ada", "mailer")
    events: list[domain.Event] = [
        domain.ConversationCreated(
            *who, domain.Kind.CHANNEL, "News", (("ada", domain.Role.OWNER),), {"a": "1"}, "pic", True, 5
        ),
        domain.ConversationChanged(*who, messages=3),
        domain.ConversationChanged(*who, "", "", {"b": ""}, ("a",), False, 0),
        domain.MembersAdded(*who, tuple((role.value, role) for role in domain.Role)),
        domain.MembersRemoved(*who, ("bob", "cy")),
        domain.MemberRoleChanged(*who, "bob", domain.Role.MODERATOR),
        domain.MemberBanned(*who, "bob", 0),
        domain.MemberBanned(*who, "bob", 7_000_001),
        domain.MemberUnbanned(*who, "bob"),
        domain.MemberMuted(*who, "bob", 0, messages=2**40),
        domain.MemberUnmuted(*who, "bob"),
        domain.MessageEdited(*who, 3, b"\n\x02hi", 7),
        domain.MessageEdited(*who, 3, b"", 1),
        domain.MessageDeleted(*who, 3, "bob", 2, 0),
        domain.MessagePinned(*who, 3),
        domain.MessageUnpinned(*who, 3),
        domain.ReactionAdded(*who, 3, "👍", 4, 2),
        domain.ReactionRemoved(*who, 3, "👍", 0, 0),
        domain.SystemMessagePosted(5, "mailer", "code", "text", {"a": "1"}, messages=9),
    ]
    for event in events:
        assert wire.decode(wire.encode(event, 7)) == event
    here: list[place.PlaceChange] = [
        place.ChannelJoined(*who, 4),
        place.ChannelLeft(*who),
        place.MessageHidden(*who, 3, "bob"),
    ]
    assert [wire.decode_place(wire.encode_place(event, 2)) for event in here] == here
    with pytest.raises(ValueError, match="does not know"):
        wire.decode_place(chat_pb2.PlaceEvent(version=1).SerializeToString())
