"""Attachments: up in chunks, checked, sent, and down again; through gRPC, on a real log, store and object store."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from PIL import Image
from tradewind.chat.v1 import attachment_pb2, chat_pb2
from tradewind.chat.v1 import attachment_service_pb2 as pb
from tradewind.chat.v1 import chat_service_pb2 as chat

from tests.integration.attachment_world import (
    CHUNK,
    Sender,
    attachment_world,
    frames,
    part,
    picture,
    sha256,
    some_bytes,
)
from tests.integration.chat_world import ChatWorld, facts_of, refused, request_id

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
FAILED = grpc.StatusCode.FAILED_PRECONDITION
NO_SUCH = (FAILED, "NO_SUCH_ATTACHMENT")
MOST = 8 * 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatWorld]:
    options = {"attachment_bytes": MOST, "attachment_open_uploads": 3, "picture_pixels": 4_000_000}
    async with attachment_world(tmp_path_factory.mktemp("attachments"), **options) as running:
        yield running


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


async def facts(call: object) -> tuple[str, dict[str, str]]:
    """Await a call that must be refused, and give its reason and metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return facts_of(caught.value)


async def test_a_file_goes_up_is_sent_and_comes_down(world: ChatWorld) -> None:
    ann, bob = Sender(world, "ann"), Sender(world, "bob")
    group = (await ann.user.create_group("bob")).conversation_id
    data = some_bytes(3 * CHUNK + 1000)
    attachment_id = await ann.begin(group, data, sha256=sha256(data), name="blob.bin")
    assert await ann.fill(attachment_id, data, piece=100_000) == [CHUNK, 2 * CHUNK, 3 * CHUNK, len(data)]
    made = await ann.complete(attachment_id)
    assert made.state == attachment_pb2.ATTACHMENT_STATE_COMPLETE
    assert (made.sha256, made.media_type, made.name) == (sha256(data), "application/octet-stream", "blob.bin")
    assert await ann.complete(attachment_id) == made
    assert await refused(bob.download(attachment_id)) == NOT_FOUND

    version = await ann.send(group, attachment_id)
    assert await bob.download(attachment_id) == data
    assert await bob.download(attachment_id, conversation_id=group) == data
    assert await bob.download(attachment_id, offset=CHUNK - 3, length=10) == data[CHUNK - 3 : CHUNK + 7]
    assert await bob.download(attachment_id, offset=len(data)) == b""
    assert (await refused(bob.download(attachment_id, offset=len(data) + 1)))[1] == "INVALID_FIELD"
    (message,) = (await bob.user.call("ListMessages", chat.ListMessagesRequest(conversation_id=group))).messages
    shown = message.content.parts[0].attachment
    assert (shown.size_bytes, shown.sha256, shown.media_type) == (len(data), sha256(data), "application/octet-stream")
    assert (message.version, list(message.content.attachment_ids)) == (version, [attachment_id])


async def test_an_upload_goes_on_where_it_was_cut(world: ChatWorld) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    data = some_bytes(5 * CHUNK + 77)
    attachment_id = await ann.begin(group, data)
    draw = random.Random(11)
    while (held := await ann.held(attachment_id)) < len(data):
        cut = min(len(data), held + draw.randrange(1, 2 * CHUNK))
        acknowledged = await ann.fill(attachment_id, data[:cut], held, piece=draw.randrange(10_000, CHUNK))
        assert await ann.held(attachment_id) == (acknowledged[-1] if acknowledged else held)
    assert (await ann.complete(attachment_id)).sha256 == sha256(data)
    reason, told = await facts(ann.fill(await ann.begin(group, data), data, offset=CHUNK))
    assert (reason, told) == ("WRONG_UPLOAD_OFFSET", {"held_bytes": "0"})


async def test_bytes_come_in_calls_too(world: ChatWorld) -> None:
    ann = Sender(world, "caller")
    group = (await ann.user.create_group()).conversation_id
    data = some_bytes(2 * CHUNK + 77)
    attachment_id = await ann.begin(group, data, sha256=sha256(data))

    async def append(offset: int, piece: bytes) -> int:
        request = pb.AppendChunkRequest(attachment_id=attachment_id, offset=offset, data=piece)
        return int((await ann.call("AppendChunk", request)).held_bytes)

    assert await append(0, data[:CHUNK]) == await append(0, data[:CHUNK]) == CHUNK
    assert (await refused(append(CHUNK, b"short")))[1] == "INVALID_FIELD"
    assert await facts(append(2 * CHUNK, data[2 * CHUNK :])) == ("WRONG_UPLOAD_OFFSET", {"held_bytes": str(CHUNK)})
    assert (await facts(append(2 * CHUNK, bytes(78))))[0] == "CONTENT_MISMATCH"
    for offset in (CHUNK, 2 * CHUNK, CHUNK):
        await append(offset, data[offset : offset + CHUNK])
    assert (await ann.complete(attachment_id)).sha256 == sha256(data)
    assert (await refused(append(0, data[:CHUNK])))[1] == "WRONG_UPLOAD_STATE"
    bob = Sender(world, "bob")
    stolen = pb.AppendChunkRequest(attachment_id=attachment_id, offset=0, data=b"x")
    assert await refused(bob.call("AppendChunk", stolen)) == NOT_FOUND


async def test_two_streams_do_not_mix(world: ChatWorld) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    data = some_bytes(6 * CHUNK)
    attachment_id = await ann.begin(group, data, sha256=sha256(data))
    both = [ann.fill(attachment_id, data), ann.fill(attachment_id, data)]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert all(isinstance(each, list) or facts_of(each)[0] == "WRONG_UPLOAD_OFFSET" for each in outcomes)  # type: ignore[arg-type]
    held = await ann.held(attachment_id)
    await ann.fill(attachment_id, data, held)
    assert (await ann.complete(attachment_id)).size_bytes == len(data)


async def test_what_is_not_what_was_declared_is_refused(world: ChatWorld) -> None:
    ann = Sender(world, "strict")
    group = (await ann.user.create_group()).conversation_id
    data = some_bytes(CHUNK + 10)
    wrong = await ann.begin(group, data, sha256=sha256(b"other"))
    await ann.fill(wrong, data)
    assert await facts(ann.complete(wrong)) == ("CONTENT_MISMATCH", {"what": "sha256"})
    short = await ann.begin(group, data)
    await ann.fill(short, data[:CHUNK])
    assert await facts(ann.complete(short)) == ("CONTENT_MISMATCH", {"what": "size_bytes"})
    long = await ann.begin(group, len(data) - 1)
    assert await facts(ann.fill(long, data)) == ("CONTENT_MISMATCH", {"what": "size_bytes"})
    reason, told = await facts(ann.begin(group, 10))
    assert (reason, told) == ("ATTACHMENTS_LIMIT", {"limit": "open_uploads", "most": "3"})
    give_up = pb.DeleteUploadRequest(request_id=request_id(), attachment_id=long)
    await ann.call("DeleteUpload", give_up)
    await ann.call("DeleteUpload", give_up)
    assert await refused(ann.complete(long)) == NOT_FOUND
    assert await facts(ann.begin(group, MOST + 1)) == ("ATTACHMENTS_LIMIT", {"limit": "size_bytes", "most": str(MOST)})


@pytest.mark.parametrize(
    ("data", "declared", "found"),
    [
        (picture(20, 10), "text/html", "image/png"),
        (b"<html><script>alert(1)</script>", "image/png", "text/html"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "", "image/svg+xml"),
        ("a,b\nä,ü\n".encode(), "text/csv", "text/csv"),
        (b"plain words", "application/pdf", "text/plain"),
    ],
)
async def test_a_type_is_told_by_content(world: ChatWorld, data: bytes, declared: str, found: str) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    assert (await ann.upload(group, data, media_type=declared)).media_type == found


async def test_programs_and_bombs_are_refused(world: ChatWorld) -> None:
    ann = Sender(world, "hostile")
    group = (await ann.user.create_group()).conversation_id
    program = b"\x7fELF\x02\x01\x01" + bytes(100)
    assert await facts(ann.upload(group, program)) == ("CONTENT_REFUSED", {"media_type": "application/x-executable"})
    bomb = picture(6000, 6000)
    assert len(bomb) < CHUNK
    reason, told = await facts(ann.upload(group, bomb))
    assert (reason, told["most_pixels"]) == ("CONTENT_REFUSED", "4000000")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
async def test_pictures_get_measures_and_thumbnails(world: ChatWorld, kind: str) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    turned = kind == "JPEG"
    data = picture(1000, 400, kind, orientation=6 if turned else 0)
    made = await ann.upload(group, data)
    assert (made.width, made.height) == ((400, 1000) if turned else (1000, 400))
    assert list(made.thumbnails) == [160, 640]
    for size in made.thumbnails:
        small = opened(await ann.download(made.attachment_id, thumbnail=size))
        assert max(small.size) == size
        assert (small.width < small.height) == turned
        assert not small.getexif()
    assert await refused(ann.download(made.attachment_id, thumbnail=99)) == NOT_FOUND
    damaged = await ann.upload(group, data[: len(data) // 2] + bytes(5))
    assert list(damaged.thumbnails) == [] or damaged.width == made.width


async def test_only_who_has_it_may_see_and_send_it(world: ChatWorld) -> None:
    ann, bob, cy = Sender(world, "ann"), Sender(world, "bob"), Sender(world, "cy")
    stranger = Sender(world, "ann", tenant="other")
    group = (await ann.user.create_group("bob")).conversation_id
    elsewhere = (await bob.user.create_group("cy")).conversation_id
    made = (await ann.upload(group, b"secret words")).attachment_id
    for sender in (bob, cy):
        assert await refused(sender.send(elsewhere if sender is cy else group, made)) == NO_SUCH
    await ann.send(group, made)
    for outsider in (cy, stranger):
        assert await refused(outsider.download(made)) == NOT_FOUND
        assert await refused(outsider.link(made)) == NOT_FOUND
        assert await refused(outsider.complete(made)) == NOT_FOUND
        assert await refused(outsider.held(made)) == NOT_FOUND
        assert await refused(outsider.begin(group, 10)) == NOT_FOUND
    assert await refused(cy.send(elsewhere, made)) == NO_SUCH
    version = await bob.send(elsewhere, made)
    assert await cy.download(made) == b"secret words"
    forward = chat.ForwardMessageRequest(
        request_id=request_id(),
        from_conversation_id=elsewhere,
        message_version=version,
        conversation_id=(await cy.user.create_group("dan")).conversation_id,
    )
    await cy.user.call("ForwardMessage", forward)
    assert await Sender(world, "dan").download(made) == b"secret words"


async def test_a_message_says_of_an_attachment_what_is_true(world: ChatWorld) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    made = (await ann.upload(group, b"words")).attachment_id
    lie = part(made, uri="https://elsewhere.example/", media_type="image/png", size_bytes=9, name="a.txt", width=5)
    content = chat_pb2.MessageContent(parts=[lie], attachment_ids=["not-there"])
    request = chat.SendMessageRequest(request_id=request_id(), conversation_id=group, content=content)
    version = (await ann.user.call("SendMessage", request)).version
    assert (await ann.user.call("SendMessage", request)).version == version
    (message,) = (await ann.user.call("ListMessages", chat.ListMessagesRequest(conversation_id=group))).messages
    shown = message.content.parts[0].attachment
    assert (shown.uri, shown.media_type, shown.size_bytes, shown.name, shown.width) == ("", "text/plain", 5, "a.txt", 0)
    assert list(message.content.attachment_ids) == [made]

    missing = await ann.begin(group, 10)
    assert await refused(ann.send(group, missing)) == NO_SUCH
    for bad in (missing, "0190aaaa-0000-7000-8000-000000000000", "nothing"):
        edit = chat.EditMessageRequest(
            request_id=request_id(),
            conversation_id=group,
            message_version=version,
            content=chat_pb2.MessageContent(text="x", parts=[part(bad)]),
        )
        assert await refused(ann.user.call("EditMessage", edit)) == NO_SUCH


async def test_sends_over_a_stream_name_attachments_too(world: ChatWorld) -> None:
    ann, bob = Sender(world, "ann"), Sender(world, "bob")
    group = (await ann.user.create_group("bob")).conversation_id
    made = (await ann.upload(group, b"words for a stream")).attachment_id
    talk = ann.user.converse()
    good, bad = ann.message(group, made), ann.message(group, "nothing")
    await talk.write(good, bad)
    await talk.until(lambda heard: len(heard.results) == 2)
    assert talk.results[good.request_id].version
    assert talk.results[bad.request_id].HasField("error")
    talk.call.cancel()
    assert await bob.download(made) == b"words for a stream"


async def test_repeated_requests_do_nothing_twice(world: ChatWorld) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    name = request_id()
    first = await ann.begin(group, 100, request_id=name)
    assert await ann.begin(group, 100, request_id=name) == first
    assert (await refused(ann.begin(group, 101, request_id=name)))[1] == "REQUEST_ID_REUSED"
    listed = (await ann.call("ListAttachments", pb.ListAttachmentsRequest(page_size=2))).attachments
    assert [each.attachment_id for each in listed][:1] == [first]
    assert len(listed) == 2


async def test_frames_that_make_no_sense_are_refused(world: ChatWorld) -> None:
    ann = Sender(world, "ann")

    async def nothing() -> AsyncIterator[pb.UploadChunksRequest]:
        for _ in ():
            yield pb.UploadChunksRequest()

    assert [each async for each in ann.call("UploadChunks", nothing())] == []
    assert await refused(ann.fill("", b"")) == NOT_FOUND
    too_large = ann.call("UploadChunks", frames("x" * 65, b""))
    assert (await refused(too_large.read()))[1] == "INVALID_FIELD"
