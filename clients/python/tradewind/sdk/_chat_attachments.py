"""Files in conversations: part of `Chat`."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from pathlib import Path

import grpc.aio

from tradewind.chat.v1 import attachment_pb2, attachment_service_pb2, attachment_service_pb2_grpc, chat_pb2
from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import DataLoss, Refused, from_rpc
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Patience
from tradewind.sdk._uploading import CHUNK_BYTES, Bytes, File, Flow, Memory, Progress, Sending


class Attachments:
    """Methods of `Chat`; see there for `request_id` and `timeout`, which is for each call and not for the bytes."""

    _connection: Connection

    @property
    def _files(self) -> attachment_service_pb2_grpc.AttachmentServiceAsyncStub:
        return attachment_service_pb2_grpc.AttachmentServiceStub(self._connection.channel)

    async def upload(
        self,
        conversation_id: str,
        source: Path | bytes | AsyncIterable[bytes],
        *,
        name: str = "",
        size: int | None = None,
        media_type: str = "",
        progress: Progress | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> attachment_pb2.AttachmentInfo:
        """Upload a file, bytes, or an iterator's pieces (`size` says how many bytes), so that it can be sent in a message.

        Goes on by itself over broken connections; who calls again with the same `request_id` and content goes on after a crash of its own.
        A few megabytes are in memory at most. Raises OSError where a file cannot be read, ValueError where an iterator has no size.
        """
        bytes_, size, digest = await _opened(source, size)
        if isinstance(source, Path):
            name = name or source.name
            media_type = media_type or mimetypes.guess_type(source.name)[0] or ""
        request = attachment_service_pb2.CreateUploadRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            name=name or "attachment",
            size_bytes=size,
            media_type=media_type,
            sha256=digest,
        )
        made = (await self._connection.unary(self._files.CreateUpload, request, timeout)).attachment
        if made.state == attachment_pb2.ATTACHMENT_STATE_COMPLETE:
            return made
        told = progress or _nobody
        await Sending(self._connection, made.attachment_id, bytes_, size, told).run(made.held_bytes, timeout)
        return await self._completed(made.attachment_id, bytes_, timeout)

    async def _completed(
        self, attachment_id: str, source: Bytes, timeout: float | None
    ) -> attachment_pb2.AttachmentInfo:
        complete = attachment_service_pb2.CompleteUploadRequest(
            request_id=new_request_id(), attachment_id=attachment_id
        )
        try:
            made = (await self._connection.unary(self._files.CompleteUpload, complete, timeout)).attachment
        except Refused as refused:
            if refused.reason in ("CONTENT_MISMATCH", "CONTENT_REFUSED"):  # nothing makes it good again
                await self.delete_upload(attachment_id, timeout=timeout)
            raise
        if isinstance(source, Flow) and made.sha256 != source.digest.digest():
            raise DataLoss("what the server holds is not what was sent", reason="CONTENT_MISMATCH")
        return made

    async def delete_upload(
        self, attachment_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> None:
        """Give up an upload, or an attachment that no message names."""
        request = attachment_service_pb2.DeleteUploadRequest(
            request_id=request_id or new_request_id(), attachment_id=attachment_id
        )
        await self._connection.unary(self._files.DeleteUpload, request, timeout)

    @staticmethod
    def attachment(info: attachment_pb2.AttachmentInfo) -> chat_pb2.Part:
        """Give the part that sends an attachment in a message: `send_message(..., parts=[client.chat.attachment(info)])`."""
        return chat_pb2.Part(attachment=chat_pb2.Attachment(attachment_id=info.attachment_id, name=info.name))

    async def get_attachment(
        self, attachment_id: str, *, conversation_id: str = "", timeout: float | None = None
    ) -> attachment_pb2.AttachmentInfo:
        """Get what is known of an attachment. `conversation_id`: where the caller has it from; finds it at once."""
        request = attachment_service_pb2.GetAttachmentRequest(
            attachment_id=attachment_id, conversation_id=conversation_id
        )
        return (await self._connection.unary(self._files.GetAttachment, request, timeout)).attachment

    async def list_attachments(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[attachment_pb2.AttachmentInfo, None]:
        """Iterate over what the caller uploaded, newest first; pages are fetched as needed."""
        token = ""
        while True:
            request = attachment_service_pb2.ListAttachmentsRequest(page_size=page_size, page_token=token)
            page = await self._connection.unary(self._files.ListAttachments, request, timeout)
            for attachment in page.attachments:
                yield attachment
            token = page.next_page_token
            if not token:
                return

    async def download(
        self, attachment_id: str, *, conversation_id: str = "", offset: int = 0, length: int = 0, thumbnail: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Iterate over an attachment's bytes, or those of a thumbnail, from an offset on; `length` 0: to the end.

        Goes on by itself over broken connections, exactly where it was. Raises TradewindError.
        """
        patience = Patience(self._connection.policy, renews=self._connection.renews)
        got = 0
        while not length or got < length:
            request = attachment_service_pb2.DownloadAttachmentRequest(
                attachment_id=attachment_id,
                conversation_id=conversation_id,
                offset=offset + got,
                length=length - got if length else 0,
                thumbnail=thumbnail,
            )
            try:
                metadata = await self._connection.metadata()
                patience.begun()
                rpc = self._files.DownloadAttachment
                async with self._connection.streaming(rpc, request, metadata=metadata) as call:
                    async for answer in call:
                        patience.heard()
                        got += len(answer.data)
                        if answer.data:
                            yield answer.data
                return
            except grpc.aio.AioRpcError as error:
                wait = patience.wait(from_rpc(error))
            await asyncio.sleep(wait)

    async def download_to(
        self,
        attachment_id: str,
        path: Path,
        *,
        conversation_id: str = "",
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> attachment_pb2.AttachmentInfo:
        """Download an attachment into a file. What a run before this one left in `<path>.part` is not fetched again.

        The file is there only once it is whole and its SHA-256 is right. Raises OSError, DataLoss.
        """
        info = await self.get_attachment(attachment_id, conversation_id=conversation_id, timeout=timeout)
        part, told = path.with_name(f"{path.name}.part"), progress or _nobody
        left = await asyncio.to_thread(_left, part, info.size_bytes)
        digest = await self._fetch(info, part, conversation_id, told, *left)
        if digest != info.sha256 and left[1]:  # what was left may be of something else
            await asyncio.to_thread(part.unlink)
            digest = await self._fetch(info, part, conversation_id, told, hashlib.sha256(), 0)
        if digest != info.sha256:
            await asyncio.to_thread(part.unlink)
            raise DataLoss("what came is not what was uploaded", reason="CONTENT_MISMATCH")
        await asyncio.to_thread(part.replace, path)
        return info

    async def _fetch(
        self,
        info: attachment_pb2.AttachmentInfo,
        part: Path,
        conversation_id: str,
        told: Progress,
        digest: hashlib._Hash,
        got: int,
    ) -> bytes:
        """Download what a file lacks; gives the SHA-256 of all of it."""
        told(got, info.size_bytes)
        with await asyncio.to_thread(part.open, "ab") as file:
            if got < info.size_bytes:
                pieces = self.download(info.attachment_id, conversation_id=conversation_id, offset=got)
                async with aclosing(pieces):
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)
                        digest.update(piece)
                        got += len(piece)
                        told(got, info.size_bytes)
        return digest.digest()

    async def download_link(
        self, attachment_id: str, *, conversation_id: str = "", thumbnail: int = 0, timeout: float | None = None
    ) -> attachment_service_pb2.CreateDownloadLinkResponse:
        """Make a link under which anybody can fetch an attachment by HTTP until it expires."""
        request = attachment_service_pb2.CreateDownloadLinkRequest(
            attachment_id=attachment_id, conversation_id=conversation_id, thumbnail=thumbnail
        )
        return await self._connection.unary(self._files.CreateDownloadLink, request, timeout)


async def _opened(source: Path | bytes | AsyncIterable[bytes], size: int | None) -> tuple[Bytes, int, bytes]:
    """Give where the bytes are, how many, and their SHA-256 where it can be known before they are sent."""
    if isinstance(source, bytes):
        return Memory(source), len(source), hashlib.sha256(source).digest()
    if isinstance(source, Path):
        digest, found = await asyncio.to_thread(_whole, source)
        return File(source), found, digest
    if size is None:
        raise ValueError("an iterator's size must be given")
    return Flow(source), size, b""


def _whole(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return digest, file.tell()


def _left(part: Path, size: int) -> tuple[hashlib._Hash, int]:
    """Read what an earlier run left; what is longer than the file is not of it."""
    digest, got = hashlib.sha256(), 0
    if part.exists() and part.stat().st_size > size:
        part.unlink()
    if part.exists():
        with part.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
                got += len(piece)
    return digest, got


def _nobody(_done: int, _total: int) -> None:
    return
