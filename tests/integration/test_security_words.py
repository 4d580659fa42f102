"""Hostile words and numbers in every field of every rpc of Chat: what is refused is refused clearly, the rest is carried as it was."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import inbox_service_pb2 as inbox

from tests.hidden_ends import hides_the_end, until_told
from tests.integration.chat_requests import METHODS, requests
from tests.integration.chat_world import chat_world, key_file, request_id
from tests.integration.permission_world import AUTHOR, Stage, told
from tests.integration.test_security_fuzz import CLEAR, CLEAR_NUMBERS
from tests.integration.test_security_tenants import page_tokens
from tests.servers import NatsServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYBODY = "everything"
NO_TEXT = b"\xff\xfe\xc0\x80"
STAMP = "@@@@"
CODE = grpc.StatusCode
SILENT = 0.3
NUMBERS = (0, 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1)
TIMES = [
    (seconds, nanos)
    for seconds in (0, -1, 253402300799, 253402300800, -62135596801, 2**63 - 1, -(2**63))
    for nanos in (0, -1, 999_999_999, 2**31 - 1)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("words")
    server = NatsServer(folder / "nats")
    server.start()
    options: dict[str, Any] = {
        "attachment_key_file": key_file(folder), "search": "embedded", "max_caller_streams": 1000
    }  # fmt: skip
    try:
        async with chat_world(server.url, folder, **options) as world:
            made = Stage(
                world, tokens={EVERYBODY: ("customer", "service", "admin"), "bot": ("service",), "chief": ("admin",)}
            )
            await made.make("group")
            yield made
            await made.close()
    finally:
        server.stop()


async def call(
    stage: Stage, rpc: str, data: bytes, who: str = EVERYBODY, silent: float = SILENT
) -> tuple[grpc.StatusCode, str]:
    """Call an rpc with bytes; gives its code and, in short, why. What has nothing to say is let in."""
    return await until_told(lambda: _call(stage, rpc, data, who, silent))


async def _call(stage: Stage, rpc: str, data: bytes, who: str, silent: float) -> tuple[grpc.StatusCode, str]:
    method = METHODS[rpc]
    channel: Any = stage.channels[0]
    path, options = (
        f"/{method.containing_service.full_name}/{method.name}",
        {"metadata": stage.metadata(who), "timeout": 60.0},
    )
    try:
        if not (method.client_streaming or method.server_streaming):
            await channel.unary_unary(path)(data, **options)
            return CODE.OK, ""
        if method.client_streaming:
            stream = channel.stream_stream(path)(**options)
            await stream.write(data)
            await stream.done_writing()
        else:
            stream = channel.unary_stream(path)(data, **options)
        reading = asyncio.ensure_future(stream.read())
        done, _ = await asyncio.wait([reading], timeout=silent)
        if not done:
            stream.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            return CODE.OK, ""
        found = reading.result()
        code = CODE.OK if found is not grpc.aio.EOF else await stream.code()
        stream.cancel()
        if rpc == "ChatService/Converse" and code is CODE.OK and found is not grpc.aio.EOF:
            answer = chat.ConverseResponse.FromString(found)
            parts: list[Any] = [*answer.results, *answer.operation_results, *answer.ended]
            assert all(each.error.code in CLEAR_NUMBERS for each in parts), parts
        return code, ""
    except asyncio.InvalidStateError:  # refused before the request was written
        details = dict(await stream.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        return await stream.code(), told(status_pb2.Status.FromString(details))
    except grpc.aio.AioRpcError as error:
        if hides_the_end(error):
            raise
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        return error.code(), told(status_pb2.Status.FromString(details))


async def all_clear(
    stage: Stage, asked: Sequence[tuple[Any, ...]], silent: float = SILENT
) -> list[tuple[grpc.StatusCode, str]]:
    """Call all of (rpc, what is wrong with it, bytes, and perhaps who asks), side by side; none is a defect."""
    limit = asyncio.Semaphore(64)

    async def one(rpc: str, _: str, data: bytes, who: str = EVERYBODY) -> tuple[grpc.StatusCode, str]:
        async with limit:
            return await call(stage, rpc, data, who, silent)

    found = await asyncio.gather(*(one(*each) for each in asked))
    wrong = [(*each[:2], answer) for each, answer in zip(asked, found, strict=True) if answer[0] not in CLEAR]
    assert not wrong, wrong[:20]
    return found


def variants(of: Message, kinds: Any, values: Any, depth: int = 0) -> Iterator[tuple[str, Message]]:
    """A message with each of its fields of some kinds, however deep, set to each value in turn."""
    for at in of.DESCRIPTOR.fields:
        if at.message_type is not None and at.message_type.GetOptions().map_entry:
            continue
        if at.message_type is not None:
            if depth > 4:
                continue
            inner: Any = GetMessageClass(cast(Any, at.message_type))()
            held: Any = getattr(of, at.name)
            if at.is_repeated and len(held):
                inner.CopyFrom(held[0])
            elif not at.is_repeated:
                inner.CopyFrom(held)
            for what, changed in variants(inner, kinds, values, depth + 1):
                yield f"{at.name}.{what}", _with(of, at, changed)
        elif at.type in kinds:
            for value in values:
                try:
                    yield f"{at.name}={value!r}", _with(of, at, value)
                except (ValueError, OverflowError):
                    continue  # no such number fits into this field on the wire


def _with(message: Message, at: Any, value: Any) -> Message:
    changed = type(message)()
    changed.CopyFrom(message)
    if at.is_repeated:
        changed.ClearField(at.name)
        getattr(changed, at.name).append(value)
    elif at.message_type is not None:
        getattr(changed, at.name).CopyFrom(value)
    else:
        setattr(changed, at.name, value)
    return changed


def every_request(stage: Stage) -> Iterator[tuple[str, Message]]:
    yield from requests(stage.places["group"].names).items()


async def test_what_is_no_utf_8_is_refused_in_every_field(stage: Stage) -> None:
    asked = []
    for rpc, request in every_request(stage):
        for what, changed in variants(request, {FieldDescriptor.TYPE_STRING}, [STAMP]):
            asked.append((rpc, what, changed.SerializeToString().replace(STAMP.encode(), NO_TEXT)))
    assert len(asked) > 250
    found = await all_clear(stage, asked, silent=60.0)  # nothing is let in, so nothing is silent
    assert {code for code, _ in found} == {CODE.INVALID_ARGUMENT}
    assert {why for _, why in found} <= {"INVALID_FIELD", ""}


async def test_empty_requests_are_clear(stage: Stage) -> None:
    await all_clear(stage, [(rpc, "empty", b"") for rpc in METHODS])


async def test_numbers_at_the_ends_of_their_ranges_are_clear(stage: Stage) -> None:
    integers = {
        FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_ENUM,
    }  # fmt: skip
    asked = []
    for rpc, request in every_request(stage):
        if rpc in ("BotService/PressAction", "PrivacyService/ErasePerson"):
            continue
        asked += [(rpc, what, changed.SerializeToString()) for what, changed in variants(request, integers, NUMBERS)]
    assert len(asked) > 500
    await all_clear(stage, asked)


async def test_times_that_are_none_are_refused(stage: Stage) -> None:
    asked = []
    for rpc, request in every_request(stage):
        for at in request.DESCRIPTOR.fields:
            if at.message_type is not None and at.message_type.full_name in (
                "google.protobuf.Timestamp",
                "google.protobuf.Duration",
            ):
                kind: Any = Timestamp if at.message_type.full_name.endswith("Timestamp") else Duration
                asked += [
                    (
                        rpc,
                        f"{at.name}={each}",
                        _with(request, at, kind(seconds=each[0], nanos=each[1])).SerializeToString(),
                    )
                    for each in TIMES
                ]
    assert len(asked) > 100
    await all_clear(stage, asked)
    names = stage.places["group"].names
    for seconds, nanos in ((253402300800, 0), (2**63 - 1, 0), (-1, 0), (0, -1)):
        request = requests(names)["ScheduleService/ScheduleMessage"]
        request.send_time.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))  # type: ignore[attr-defined]
        code, why = await call(stage, "ScheduleService/ScheduleMessage", request.SerializeToString(), AUTHOR)
        assert (code, why) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD"), (seconds, nanos)


async def test_request_ids_of_other_versions_are_clear(stage: Stage) -> None:
    made = request_id()
    odd = [
        str(uuid.uuid1()), str(uuid.uuid3(uuid.NAMESPACE_DNS, "a")), str(uuid.uuid4()), str(uuid.uuid5(uuid.NAMESPACE_DNS, "a")),
        str(uuid.UUID(int=0)), "f" * 8 + "-ffff-ffff-ffff-" + "f" * 12, made.upper(), made.replace("-", ""), f"{{{made}}}", f"{made} ",
        f"urn:uuid:{made}", made[:-1] + "g", made[:-1] + "\u0663", "",
    ]  # fmt: skip
    asked = [
        (rpc, each, _with(request, request.DESCRIPTOR.fields_by_name["request_id"], each).SerializeToString())
        for rpc, request in every_request(stage)
        if "request_id" in request.DESCRIPTOR.fields_by_name and not rpc.endswith(("LeaveConversation", "ErasePerson"))
        for each in odd
    ]
    found = await all_clear(stage, asked)
    for (rpc, each, _), (code, why) in zip(asked, found, strict=True):
        if len(each) != 36 or not each.isascii() or each.endswith(("g", " ")):
            assert (code, why) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD"), (rpc, each)


async def test_places_in_listings_that_were_made_up_are_clear(stage: Stage) -> None:
    """A token is no secret: whoever reads the source can make any."""
    places = [
        b"", b"0", b"-1", b"9" * 20, b"9" * 200, b"1e9", b"\xff\xfe", b"x", b"null", b"[]", b"{}", b"[" * 1000, b"zz", b"6e6f", b"ff",
        b"[0,0,\"\",0,99999999,0]", b"[0,0,\"\",-1,1,0]", b"[1e400,0,\"\",0,0,0]", b"[NaN,0,\"\",0,0,0]", b"[Infinity,0,\"\",0,0,0]",
        b"[0,0,\"" + b"x" * 900 + b"\",0,0,0]", b"[99999999999999999999999,1,\"\",0,0,0]", b"[0,1,\"\\u0000\",99999999999999999999,1,1]",
    ]  # fmt: skip
    asked = []
    for rpc, (token, who) in (await page_tokens(stage, stage.places["group"])).items():
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        forged = [raw[:8] + each for each in places] + [raw[:-1], raw[1:], raw * 2, raw[:4], raw + b"\0"]
        for each in (*forged, *(base64.urlsafe_b64encode(each) for each in (b"", b"\0" * 9))):
            request: Any = requests(stage.places["group"].names)[rpc]
            name = "resume_token" if "Export" in rpc else "page_token"
            setattr(request, name, base64.urlsafe_b64encode(each).rstrip(b"=").decode())
            asked.append((rpc, repr(each[:60]), request.SerializeToString(), who))
    found = await all_clear(stage, asked)
    assert {code for code, _ in found} == {CODE.OK, CODE.INVALID_ARGUMENT}
    assert {why for _, why in found} <= {"", "INVALID_PAGE_TOKEN", "INVALID_FIELD"}  # the last: too long


CARRIED = (
    "\u05e9\u05dc\u05d5\u05dd \u202eabc\u202c", "zero\u200bwidth\u200d\ufeff", "\x1b[2J\x07\x00\x7f\x85", "line\r\n\u2028\u2029end",
    "e" + "\u0301" * 200, "\U0010ffff\ufffe\ue000", "👩\u200d👩\u200d👧\u200d👦" * 20, "\u0627\u0644\u0639\u0631\u0628", "  \t ",
    "[red]{{7*7}}%s<script>", "\ud7ff\U00010000",
)  # fmt: skip


@pytest.mark.parametrize("words", CARRIED, ids=range(len(CARRIED)))
async def test_what_people_write_is_carried_as_it_is(stage: Stage, words: str) -> None:
    """Titles, attributes, texts and names of files hold any text; whoever shows them makes them harmless."""
    create = chat.CreateConversationRequest(
        request_id=request_id(),
        kind=chat_pb2.CONVERSATION_KIND_GROUP,
        title=words,
        picture=words,
        attributes={words[:15]: words},
    )
    made = (await stage.answer("ChatService/CreateConversation", create, "owner")).conversation
    assert (made.title, made.picture, dict(made.attributes)) == (words, words, {words[:15]: words})
    card = chat_pb2.Card(title=words, text=words, fields=[chat_pb2.CardField(name=words[:64], value=words[:256])])
    file = chat_pb2.Attachment(uri=words, name=words)
    said = chat_pb2.MessageContent(
        text=words, attributes={words[:15]: words}, parts=[chat_pb2.Part(card=card), chat_pb2.Part(attachment=file)]
    )
    about = {"request_id": request_id(), "conversation_id": made.conversation_id}
    await stage.answer("ChatService/SendMessage", chat.SendMessageRequest(content=said, **about), "owner")
    listing = chat.ListMessagesRequest(conversation_id=made.conversation_id)
    (message,) = (await stage.answer("ChatService/ListMessages", listing, "owner")).messages
    assert message.content == said
    frame = await stage.answer("ChatService/Watch", chat.WatchRequest(conversation_id=made.conversation_id), "owner")
    assert (frame.events[0].created.title, frame.events[1].message) == (words, said)
    entry = (await stage.answer("InboxService/ListInbox", inbox.ListInboxRequest(page_size=1), "owner")).entries[0]
    assert (entry.title, entry.last_message.text) == (words, words[:200])


async def test_the_largest_of_everything_together(stage: Stage) -> None:
    attributes = {f"{n:064}": "x" * 1_024 for n in range(16)}
    create = chat.CreateConversationRequest(
        request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP, title="\U0001f600" * 256, picture="p" * 1_024,
        attributes=attributes, member_ids=[f"{n:04}" + "x" * 60 for n in range(4_999)], message_ttl_seconds=31_622_400,
        slow_mode_seconds=21_600, open=True,
    )  # fmt: skip
    made = (await stage.answer("ChatService/CreateConversation", create, "owner")).conversation
    assert (len(made.members), made.title, dict(made.attributes)) == (5_000, create.title, attributes)
    card = chat_pb2.Part(card=chat_pb2.Card(title="t" * 256, text="x" * 1_000))
    fits = chat_pb2.MessageContent(text="é" * 8_192, attributes=attributes, parts=[card] * 4)
    about = {"conversation_id": made.conversation_id}
    send = chat.SendMessageRequest(request_id=request_id(), content=fits, **about)
    await stage.answer("ChatService/SendMessage", send, "owner")
    (message,) = (await stage.answer("ChatService/ListMessages", chat.ListMessagesRequest(**about), "owner")).messages
    assert message.content == fits
    too_large = [
        chat_pb2.MessageContent(text="é" * 8_192, attributes=attributes, parts=[card] * 10),
        chat_pb2.MessageContent(text="é" * 8_193),
        chat_pb2.MessageContent(text="x", parts=[card] * 11),
        chat_pb2.MessageContent(text="x", attributes={**attributes, "one": "more"}),
        chat_pb2.MessageContent(text="x" * 3_900_000),
    ]
    for each in too_large:
        send = chat.SendMessageRequest(request_id=request_id(), content=each, **about)
        assert await stage.outcome("ChatService/SendMessage", send, "owner") == "INVALID_FIELD"
    send.content.text = "x" * 5_000_000
    assert (await call(stage, "ChatService/SendMessage", send.SerializeToString(), "owner"))[
        0
    ] is CODE.RESOURCE_EXHAUSTED
    create.request_id, wide = request_id(), "\U0001f600" * 120
    del create.member_ids[:]
    create.member_ids.extend(f"{n:04}{wide}" for n in range(4_999))
    assert await stage.outcome("ChatService/CreateConversation", create, "owner") == "INVALID_FIELD"


async def test_floods_of_mentions_are_bounded_and_counted(stage: Stage) -> None:
    place = stage.places["group"]
    about = {"conversation_id": place.names.conversation}
    crowd = ["reader", *(f"user-{n}" for n in range(49))]
    before = (
        await stage.answer("ChatService/GetUnread", chat.GetUnreadRequest(**about), "reader")
    ).unread.mention_count
    flood = [
        chat.SendMessageRequest(
            request_id=request_id(),
            content=chat_pb2.MessageContent(text="hey", mentions=chat_pb2.Mentions(user_ids=crowd)),
            **about,
        )
        for _ in range(200)
    ]
    assert {await stage.outcome("ChatService/SendMessage", each, AUTHOR) for each in flood} == {"yes"}
    after = (await stage.answer("ChatService/GetUnread", chat.GetUnreadRequest(**about), "reader")).unread.mention_count
    assert after - before == 200
    for mentions, why in (
        (chat_pb2.Mentions(user_ids=[*crowd, "more"]), "INVALID_FIELD"),
        (chat_pb2.Mentions(user_ids=["reader", "reader"]), "INVALID_FIELD"),
        (chat_pb2.Mentions(all=True), "FORBIDDEN:mention_all"),
        (chat_pb2.Mentions(here=True), "FORBIDDEN:mention_all"),
    ):
        said = chat_pb2.MessageContent(text="hey", mentions=mentions)
        send = chat.SendMessageRequest(request_id=request_id(), content=said, **about)
        assert await stage.outcome("ChatService/SendMessage", send, AUTHOR) == why
