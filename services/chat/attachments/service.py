"""The rpcs of attachments."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tradewind.chat.v1 import attachment_service_pb2 as pb

from services.chat.attachments.downloads import Downloads
from services.chat.attachments.uploads import Uploads
from services.runtime.call import Call


class AttachmentService:
    """Handlers of ``tradewind.chat.v1.AttachmentService``; their contract is in ``attachment_service.proto``."""

    def __init__(self, uploads: Uploads, downloads: Downloads) -> None:
        """Serve attachments that come by ``uploads`` and go by ``downloads``."""
        self._uploads, self._downloads = uploads, downloads

    async def CreateUpload(self, request: pb.CreateUploadRequest, call: Call) -> pb.CreateUploadResponse:
        """Declare an upload."""
        return pb.CreateUploadResponse(attachment=await self._uploads.create(request, call))

    async def GetUpload(self, request: pb.GetUploadRequest, call: Call) -> pb.GetUploadResponse:
        """Tell how far an upload is."""
        return pb.GetUploadResponse(attachment=await self._uploads.get(request.attachment_id, call))

    def UploadChunks(
        self, requests: AsyncIterator[pb.UploadChunksRequest], call: Call
    ) -> AsyncIterator[pb.UploadChunksResponse]:
        """Take an upload's bytes."""
        return self._uploads.fill(requests, call)

    async def AppendChunk(self, request: pb.AppendChunkRequest, call: Call) -> pb.AppendChunkResponse:
        """Take an upload's next bytes."""
        return pb.AppendChunkResponse(held_bytes=await self._uploads.append(request, call))

    async def CompleteUpload(self, request: pb.CompleteUploadRequest, call: Call) -> pb.CompleteUploadResponse:
        """Check what was uploaded."""
        return pb.CompleteUploadResponse(attachment=await self._uploads.complete(request, call))

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, call: Call) -> pb.DeleteUploadResponse:
        """Give up an upload."""
        await self._uploads.give_up(request, call)
        return pb.DeleteUploadResponse()

    async def GetAttachment(self, request: pb.GetAttachmentRequest, call: Call) -> pb.GetAttachmentResponse:
        """Tell what is known of an attachment."""
        return pb.GetAttachmentResponse(attachment=await self._downloads.get(request, call))

    async def ListAttachments(self, request: pb.ListAttachmentsRequest, call: Call) -> pb.ListAttachmentsResponse:
        """List the caller's attachments."""
        return await self._downloads.list(request, call)

    def DownloadAttachment(
        self, request: pb.DownloadAttachmentRequest, call: Call
    ) -> AsyncIterator[pb.DownloadAttachmentResponse]:
        """Give an attachment's bytes."""
        return self._downloads.stream(request, call)

    async def CreateDownloadLink(
        self, request: pb.CreateDownloadLinkRequest, call: Call
    ) -> pb.CreateDownloadLinkResponse:
        """Make a link."""
        return await self._downloads.link(request, call)
