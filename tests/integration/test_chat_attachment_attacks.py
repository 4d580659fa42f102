"""Attachments under attack: every rpc with nasty fields, without a good token, of other tenants; and messages with nasty parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from tradewind.chat.v1 import attachment_service_pb2 as pb
from tradewind.chat.v1 import chat_service_pb2 as chat

from services.chat.policy import POLICY
from tests.integration.attachment_world import CHUNK, Sender, attachment_world, picture
from tests.integration.chat_world import TENANT, ChatWorld, request_id
from tests.integration.security_table import ask, hostile, methods

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVICE = pb.DESCRIPTOR.services_by_name["AttachmentService"]
CODE = grpc.StatusCode
HARMLESS = {
    CODE.OK, CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.PERMISSION_DENIED, CODE.FAILED_PRECONDITION, CODE.ALREADY_EXISTS,
    CODE.RESOURCE_EXHAUSTED,
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatWorld]:
    async with attachment_world(tmp_path_factory.mktemp("attacks")) as running:
        yield running


def requests(group: str, made: str) -> Mapping[str, Message]:
    """A good request for each rpc."""
    return {
        "CreateUpload": pb.CreateUploadRequest(
            request_id=request_id(), conversation_id=group, name="a", size_bytes=9, media_type="text/plain"
        ),
        "GetUpload": pb.GetUploadRequest(attachment_id=made),
        "UploadChunks": pb.UploadChunksRequest(attachment_id=made, offset=CHUNK, data=b"words"),
        "AppendChunk": pb.AppendChunkRequest(attachment_id=made, offset=CHUNK, data=b"words"),
        "CompleteUpload": pb.CompleteUploadRequest(request_id=request_id(), attachment_id=made),
        "DeleteUpload": pb.DeleteUploadRequest(request_id=request_id(), attachment_id=made),
        "GetAttachment": pb.GetAttachmentRequest(attachment_id=made, conversation_id=group),
        "ListAttachments": pb.ListAttachmentsRequest(page_size=3),
        "DownloadAttachment": pb.DownloadAttachmentRequest(attachment_id=made, conversation_id=group, length=5),
        "CreateDownloadLink": pb.CreateDownloadLinkRequest(attachment_id=made, thumbnail=160),
    }


async def test_every_rpc_is_closed_to_who_must_not_use_it(world: ChatWorld) -> None:
    ann, eve = Sender(world, "ann"), Sender(world, "eve")
    group = (await ann.user.create_group()).conversation_id
    made = (await ann.upload(group, picture(200, 200))).attachment_id
    await ann.send(group, made)
    tried = requests(group, made)
    assert set(tried) == {each.name for each in methods((SERVICE,))}
    assert {f"/{SERVICE.full_name}/{name}" for name in tried} <= set(POLICY)
    elsewhere = world.signer.mint("ann", "other", ("customer",))
    for method in methods((SERVICE,)):
        request = tried[method.name]
        assert (await ask(ann.channel, method, request, None)).code is CODE.UNAUTHENTICATED
        assert (await ask(ann.channel, method, request, "junk")).code is CODE.UNAUTHENTICATED
        unknown_role = world.signer.mint("ann", TENANT, ("nobody",))
        assert (await ask(ann.channel, method, request, unknown_role)).code is CODE.PERMISSION_DENIED
        for token in (elsewhere, world.signer.mint(eve.id, TENANT, ("customer",))):
            answer = await ask(ann.channel, method, request, token)
            if method.name == "ListAttachments":
                assert not answer.message.attachments
            else:
                assert answer.code is CODE.NOT_FOUND, method.name


async def test_nothing_hostile_is_a_defect(world: ChatWorld, capfd: pytest.CaptureFixture[str]) -> None:
    ann = Sender(world, "ann")
    token = world.signer.mint("ann", TENANT, ("customer",))
    group = (await ann.user.create_group()).conversation_id
    sent = (await ann.upload(group, picture(200, 200))).attachment_id
    await ann.send(group, sent)
    begun = await ann.begin(group, 2 * CHUNK)

    async def attack(method: object, what: str, request: Message) -> None:
        answer = await ask(ann.channel, method, request, token)  # type: ignore[arg-type]
        assert answer.code in HARMLESS, (what, answer)

    for method in methods((SERVICE,)):
        good = requests(group, begun if method.name in ("UploadChunks", "AppendChunk") else sent)[method.name]
        await asyncio.gather(*(attack(method, what, request) for what, request in hostile(good)))
    for nasty in (b"\x0a\x02\xff\xfe", b"\x0a\x7f", b"\x0b", b"\xff" * 64):
        for method in methods((SERVICE,)):
            assert (await ask(ann.channel, method, nasty, token)).code in HARMLESS
    send = chat.DESCRIPTOR.services_by_name["ChatService"].methods_by_name["SendMessage"]
    for what, request in hostile(ann.message(group, sent)):
        await attack(send, what, request)
    assert "unexpected_error" not in capfd.readouterr().err
