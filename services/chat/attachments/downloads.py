"""What an attachment gives: what is known of it, its bytes, and links to them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import attachment_pb2
from tradewind.chat.v1 import attachment_service_pb2 as pb

from services.chat import pages
from services.chat.access import Actor, actor_of
from services.chat.attachments import domain, rows, seeing, wire
from services.chat.attachments.files import Files
from services.chat.attachments.links import Links
from services.chat.attachments.names import Names
from services.chat.attachments.transfers import Transfers
from services.chat.attachments.uploads import object_name
from services.chat.attachments.vault import NoObject
from services.ledger.ledger import Ledger
from services.runtime.call import Call
from services.runtime.errors import Refused

_PAGE = 50


class Downloads:
    """Gives attachments out."""

    def __init__(self, ledger: Ledger, files: Files, transfers: Transfers, links: Links | None) -> None:
        """Give out what ``files`` holds; ``links`` None: none are made."""
        self._ledger, self._files, self._transfers, self._links = ledger, files, transfers, links
        self._names = Names(ledger, files.keys)

    async def get(self, request: pb.GetAttachmentRequest, call: Call) -> attachment_pb2.AttachmentInfo:
        """Tell what is known of a complete attachment. Raises Refused."""
        actor = actor_of(call.caller)
        state = await self._complete(actor, request.attachment_id, request.conversation_id)
        return await self._shown(actor.tenant, request.attachment_id, state)

    async def list(self, request: pb.ListAttachmentsRequest, call: Call) -> pb.ListAttachmentsResponse:
        """List what the caller uploaded, newest first. Raises chat's Refused (INVALID_PAGE_TOKEN)."""
        actor, limit = actor_of(call.caller), request.page_size or _PAGE
        where, listing = rows.owner_partition(actor.tenant, actor.user_id), ("attachments", actor.tenant, actor.user_id)
        after = pages.read(request.page_token, *listing) if request.page_token else None
        page = await self._ledger.rows(rows.OWNED, where, after=after, limit=limit, descending=True)
        response = pb.ListAttachmentsResponse()
        for row in page:
            attachment_id = row.key[17:]
            state = (await self._ledger.read(rows.aggregate_of(actor.tenant, attachment_id), fresh=False)).state
            if state.state in domain.THERE:
                response.attachments.append(await self._shown(actor.tenant, attachment_id, state))
        if len(page) == limit:
            response.next_page_token = pages.make(page[-1].key, *listing)
        return response

    async def stream(
        self, request: pb.DownloadAttachmentRequest, call: Call
    ) -> AsyncIterator[pb.DownloadAttachmentResponse]:
        """Give bytes. Raises Refused."""
        actor = actor_of(call.caller)
        state = await self._complete(actor, request.attachment_id, request.conversation_id)
        shown = await self._shown(actor.tenant, request.attachment_id, state)
        name = object_name(actor.tenant, request.attachment_id, request.thumbnail)
        with self._transfers.one((actor.tenant, actor.user_id)):
            try:
                if request.thumbnail:
                    shown.size_bytes = await self._files.size(_thumbnail(state, request.thumbnail, name))
                if request.offset > shown.size_bytes:
                    raise Refused("INVALID_FIELD", "the offset is beyond the end", field="offset")
                yield pb.DownloadAttachmentResponse(attachment=shown)
                left = shown.size_bytes - request.offset
                length = min(left, request.length) if request.length else left
                owner, sealed = (actor.tenant, state.owner), state.sealed
                async for data in self._files.read(name, owner, request.offset, length, is_sealed=sealed):
                    yield pb.DownloadAttachmentResponse(data=data)
                    self._transfers.down += len(data)
            except NoObject:
                raise domain.not_found() from None

    async def link(self, request: pb.CreateDownloadLinkRequest, call: Call) -> pb.CreateDownloadLinkResponse:
        """Make a link. Raises Refused."""
        actor = actor_of(call.caller)
        state = await self._complete(actor, request.attachment_id, request.conversation_id)
        if self._links is None:
            raise domain.wrong_state("off")
        if request.thumbnail:
            _thumbnail(state, request.thumbnail, "")
        uri, expires = self._links.make(actor.tenant, request.attachment_id, request.thumbnail, time.time())
        return pb.CreateDownloadLinkResponse(uri=uri, expire_time=Timestamp(seconds=expires))

    async def _complete(self, actor: Actor, attachment_id: str, conversation_id: str) -> domain.Attachment:
        state = await seeing.seen(self._ledger, actor, attachment_id, conversation_id)
        if state.state is not domain.State.COMPLETE:
            raise domain.wrong_state(state.state.value)
        return state

    async def _shown(self, tenant: str, attachment_id: str, state: domain.Attachment) -> attachment_pb2.AttachmentInfo:
        name = await self._names.of(tenant, state.owner, attachment_id)
        held = state.size if state.state is domain.State.COMPLETE else 0
        return wire.info(attachment_id, state, name, held)


def _thumbnail(state: domain.Attachment, size: int, name: str) -> str:
    """Give the name of a thumbnail that there is. Raises Refused (NOT_FOUND)."""
    if size not in state.thumbnails:
        raise domain.not_found()
    return name
