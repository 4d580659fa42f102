"""What tests of attachments share: files, uploads of them, and pictures."""

from __future__ import annotations

import hashlib
import io
import random
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from PIL import Image
from tradewind.chat.v1 import attachment_pb2, attachment_service_pb2_grpc, chat_pb2
from tradewind.chat.v1 import attachment_service_pb2 as pb
from tradewind.chat.v1 import chat_service_pb2 as chat

from tests.integration.chat_world import ChatWorld, User, chat_world, request_id
from tests.servers import NatsServer

CHUNK = 256 * 1024


@asynccontextmanager
async def attachment_world(folder: Path, **options: Any) -> AsyncIterator[ChatWorld]:
    """Run Chat with attachments and links to them, on a nats-server of its own; a folder can be run again."""
    key = folder / "attachments.key"
    if not key.exists():
        key.write_text(secrets.token_hex(32), encoding="ascii")
    server = NatsServer(folder / "nats")
    server.start()
    try:
        chosen = {"attachment_key_file": key, "search": "off", "attachment_sweep": 3600.0, **options}
        async with chat_world(server.url, folder, **chosen) as world:
            yield world
    finally:
        server.stop()


class Sender:
    """A user, and a stub of the attachments' service."""

    def __init__(self, world: ChatWorld, user_id: str, *roles: str, **options: Any) -> None:
        self.user: User = world.user(user_id, *roles, **options)
        self.id = user_id
        self.metadata = self.user.metadata
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}")
        self.channel = channel
        world._channels.append(channel)
        self.stub = attachment_service_pb2_grpc.AttachmentServiceStub(channel)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        return getattr(self.stub, method)(*args, metadata=self.metadata, **options)

    async def begin(self, conversation: str, data_or_size: bytes | int, **fields: Any) -> str:
        size = data_or_size if isinstance(data_or_size, int) else len(data_or_size)
        request = pb.CreateUploadRequest(
            **{"request_id": request_id(), "name": "a file", **fields}, conversation_id=conversation, size_bytes=size
        )
        return str((await self.call("CreateUpload", request)).attachment.attachment_id)

    async def fill(self, attachment_id: str, data: bytes, offset: int = 0, piece: int = CHUNK) -> list[int]:
        """Upload from an offset on; gives what was acknowledged."""
        return [
            answer.held_bytes async for answer in self.call("UploadChunks", frames(attachment_id, data, offset, piece))
        ]

    async def held(self, attachment_id: str) -> int:
        answer = await self.call("GetUpload", pb.GetUploadRequest(attachment_id=attachment_id))
        return int(answer.attachment.held_bytes)

    async def complete(self, attachment_id: str) -> attachment_pb2.AttachmentInfo:
        request = pb.CompleteUploadRequest(request_id=request_id(), attachment_id=attachment_id)
        made: attachment_pb2.AttachmentInfo = (await self.call("CompleteUpload", request, timeout=30)).attachment
        return made

    async def upload(self, conversation: str, data: bytes, **fields: Any) -> attachment_pb2.AttachmentInfo:
        attachment_id = await self.begin(conversation, data, **fields)
        await self.fill(attachment_id, data)
        return await self.complete(attachment_id)

    def message(self, conversation: str, *attachment_ids: str, **fields: Any) -> chat.SendMessageRequest:
        content = chat_pb2.MessageContent(parts=[part(each) for each in attachment_ids])
        return chat.SendMessageRequest(request_id=request_id(), conversation_id=conversation, content=content, **fields)

    async def send(self, conversation: str, *attachment_ids: str) -> int:
        return int((await self.user.call("SendMessage", self.message(conversation, *attachment_ids))).version)

    async def download(self, attachment_id: str, **fields: Any) -> bytes:
        found = b""
        async for answer in self.call(
            "DownloadAttachment", pb.DownloadAttachmentRequest(attachment_id=attachment_id, **fields)
        ):
            found += answer.data
        return found

    async def link(self, attachment_id: str, **fields: Any) -> str:
        request = pb.CreateDownloadLinkRequest(attachment_id=attachment_id, **fields)
        return str((await self.call("CreateDownloadLink", request)).uri)


def part(attachment_id: str, **fields: Any) -> chat_pb2.Part:
    """A message's part that names an upload."""
    return chat_pb2.Part(attachment=chat_pb2.Attachment(attachment_id=attachment_id, **fields))


async def frames(
    attachment_id: str, data: bytes, offset: int = 0, piece: int = CHUNK
) -> AsyncIterator[pb.UploadChunksRequest]:
    """A stream of an upload, from an offset of the data on."""
    yield pb.UploadChunksRequest(attachment_id=attachment_id, offset=offset)
    for at in range(offset, len(data), piece):
        yield pb.UploadChunksRequest(data=data[at : at + piece])


def some_bytes(size: int, seed: int = 7) -> bytes:
    """Bytes without any meaning: no text, no signature."""
    return b"\xc3\x28\x00\x01" + random.Random(seed).randbytes(size - 4)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def picture(
    width: int, height: int, kind: str = "PNG", *, orientation: int = 0, colour: Iterable[int] = (200, 30, 30)
) -> bytes:
    """A picture of one colour; with an orientation, as cameras write it."""
    made = Image.new("RGB", (width, height), tuple(colour))
    out = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
        exif[0x010E] = "where it was taken"
    made.save(out, kind, exif=exif) if orientation else made.save(out, kind)
    return out.getvalue()
