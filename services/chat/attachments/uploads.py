"""How an attachment gets here: declared, filled, and checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tradewind.chat.v1 import attachment_pb2
from tradewind.chat.v1 import attachment_service_pb2 as pb

from services.chat import commands
from services.chat.access import Actor, actor_of, readable
from services.chat.attachments import content, domain, removing, rows, seeing, wire
from services.chat.attachments.config import AttachmentSettings
from services.chat.attachments.files import Files, Looked
from services.chat.attachments.names import Names
from services.chat.attachments.pictures import Drawer, Drawn, TooManyPoints
from services.chat.attachments.quota import check_quota
from services.chat.attachments.transfers import Transfers
from services.chat.attachments.vault import CHUNK_BYTES, Held, NoObject, Overtaken, VaultUnavailable
from services.ledger.decider import Request
from services.ledger.errors import Contention
from services.ledger.ids import derive_id, fingerprint
from services.ledger.ledger import Ledger
from services.runtime.call import Call

_IDLE = 60.0


def object_name(tenant: str, attachment_id: str, thumbnail: int = 0) -> str:
    """Name an attachment's bytes in the vault, or those of a thumbnail of it."""
    return f"{tenant}/{attachment_id}/{thumbnail}" if thumbnail else f"{tenant}/{attachment_id}"


class Uploads:
    """Takes attachments in."""

    def __init__(
        self, ledger: Ledger, files: Files, drawer: Drawer, transfers: Transfers, settings: AttachmentSettings
    ) -> None:
        """Write what is known of them into ``ledger``, and their bytes into ``files``."""
        self._ledger, self._files, self._drawer = ledger, files, drawer
        self._transfers, self._settings = transfers, settings
        self._names = Names(ledger, files.keys)

    async def create(self, request: pb.CreateUploadRequest, call: Call) -> attachment_pb2.AttachmentInfo:
        """Declare an upload. Raises Refused."""
        actor, now = actor_of(call.caller), commands.now_us()
        try:
            attachment_id = derive_id(request.request_id, actor.tenant, actor.user_id, rows.ATTACHMENT)
        except ValueError:
            raise domain.Refused(
                "INVALID_FIELD", "the request id must be a UUID of version 7", field="request_id"
            ) from None
        aggregate = rows.aggregate_of(actor.tenant, attachment_id)
        if (
            await self._ledger.read(aggregate)
        ).state.state is domain.State.NONE:  # else it was declared by this request
            await readable(self._ledger, actor, commands.aggregate_of(actor, request.conversation_id), now)
            await check_quota(self._ledger, actor, request.size_bytes, now, self._settings)
        command = domain.Create(now, actor.user_id, request.size_bytes, request.media_type, request.sha256.hex())
        await self._ledger.execute(aggregate, command, _named(request, actor, call), timeout=call.remaining())
        # Who was not answered asks again, and names it then.
        await self._names.put(actor.tenant, actor.user_id, attachment_id, request.name)
        try:
            return await self._shown(actor, attachment_id)
        except domain.Refused:  # its owner was erased between the two: the name must not stay behind
            await self._ledger.put_rows([rows.name_row(actor.tenant, actor.user_id, attachment_id, None)])
            raise

    async def get(self, attachment_id: str, call: Call) -> attachment_pb2.AttachmentInfo:
        """Tell how far an upload is. Raises Refused (NOT_FOUND)."""
        return await self._shown(actor_of(call.caller), attachment_id)

    async def fill(
        self, requests: AsyncIterator[pb.UploadChunksRequest], call: Call
    ) -> AsyncIterator[pb.UploadChunksResponse]:
        """Take bytes, and say each time more are here for good. Raises Refused."""
        first = await anext(requests, None)
        if first is None:
            return
        actor = actor_of(call.caller)
        state = await seeing.owned(self._ledger, actor, first.attachment_id)
        if not domain.open_for_bytes(state):
            raise domain.wrong_state(state.state.value if state.state is domain.State.COMPLETE else "expired")
        with self._transfers.one((actor.tenant, actor.user_id)):
            name = object_name(actor.tenant, first.attachment_id)
            held = await self._files.held(name)
            if held.size != first.offset:
                raise _wrong_offset(held.size)
            data = bytearray()
            async for frame in self._frames(first, requests, call):
                data += frame.data
                if held.size + len(data) > state.size:
                    raise _mismatch("size_bytes", "more bytes than were declared")
                while data and (len(data) >= CHUNK_BYTES or held.size + len(data) == state.size):
                    await self._still_open(actor.tenant, first.attachment_id)
                    held = await self._append(name, actor, held, bytes(data[:CHUNK_BYTES]), state.size)
                    del data[:CHUNK_BYTES]
                    yield pb.UploadChunksResponse(held_bytes=held.size)

    async def append(self, request: pb.AppendChunkRequest, call: Call) -> int:
        """Take the next bytes in a call of their own; gives how many are held. Raises Refused."""
        actor = actor_of(call.caller)
        state = await seeing.owned(self._ledger, actor, request.attachment_id)
        if not domain.open_for_bytes(state):
            raise domain.wrong_state(state.state.value if state.state is domain.State.COMPLETE else "expired")
        end = request.offset + len(request.data)
        if end > state.size:
            raise _mismatch("size_bytes", "more bytes than were declared")
        if len(request.data) != CHUNK_BYTES and end != state.size:
            raise domain.Refused("INVALID_FIELD", f"must be {CHUNK_BYTES} bytes, or reach to the end", field="data")
        with self._transfers.one((actor.tenant, actor.user_id)):
            name = object_name(actor.tenant, request.attachment_id)
            held = await self._files.held(name)
            if end <= held.size:
                return held.size
            if held.size != request.offset:
                raise _wrong_offset(held.size)
            return (await self._append(name, actor, held, request.data, state.size)).size

    async def _append(self, name: str, actor: Actor, held: Held, data: bytes, size: int) -> Held:
        try:
            held = await self._files.append(name, (actor.tenant, actor.user_id), held, data, size)
        except Overtaken:
            raise _wrong_offset((await self._files.held(name)).size) from None
        except NoObject:  # the owner was erased
            raise domain.not_found() from None
        self._transfers.up += len(data)
        return held

    async def _still_open(self, tenant: str, attachment_id: str) -> None:
        """Raise Refused where an upload was given up, or its owner erased, since the stream began."""
        state = (await self._ledger.read(rows.aggregate_of(tenant, attachment_id), fresh=False)).state
        if not domain.open_for_bytes(state):
            raise domain.wrong_state(state.state.value)

    async def _frames(
        self, first: pb.UploadChunksRequest, requests: AsyncIterator[pb.UploadChunksRequest], call: Call
    ) -> AsyncIterator[pb.UploadChunksRequest]:
        """Iterate over a stream's frames until it ends, is too old, brings nothing for long, or the server drains."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.attachment_stream
        frame: pb.UploadChunksRequest | None = first
        while frame is not None:
            yield frame
            wait = call.admit()
            while wait > 0:
                await asyncio.sleep(wait)
                wait = call.admit()
            left = until - loop.time()
            if left <= 0 or call.draining.is_set():
                return
            try:
                async with asyncio.timeout(min(_IDLE, left)):
                    frame = await anext(requests, None)
            except TimeoutError:
                return

    async def complete(self, request: pb.CompleteUploadRequest, call: Call) -> attachment_pb2.AttachmentInfo:
        """Check an upload, and make it an attachment. Raises Refused."""
        actor = actor_of(call.caller)
        state = await seeing.owned(self._ledger, actor, request.attachment_id)
        if state.state is not domain.State.COMPLETE:
            if not domain.open_for_bytes(state):
                raise domain.wrong_state("expired")
            with self._transfers.one((actor.tenant, actor.user_id)):
                try:
                    command = await self._checked(state, actor.tenant, request.attachment_id)
                except NoObject:  # its owner was erased
                    raise domain.not_found() from None
            aggregate = rows.aggregate_of(actor.tenant, request.attachment_id)
            try:
                await self._ledger.execute(aggregate, command, _named(request, actor, call), timeout=call.remaining())
            except domain.Refused:  # it was deleted meanwhile, and what was written since must go too
                await removing.remove_now(self._files.vault, actor.tenant, request.attachment_id)
                raise
        return await self._shown(actor, request.attachment_id)

    async def _checked(self, state: domain.Attachment, tenant: str, attachment_id: str) -> domain.Complete:
        name = object_name(tenant, attachment_id)
        held = await self._files.held(name)
        if held.size != state.size:
            raise _mismatch("size_bytes", f"{held.size} of {state.size} bytes are here")
        sniffer = content.Sniffer()

        async def look(data: bytes) -> None:
            await asyncio.to_thread(sniffer.take, data)

        looked = await self._files.look(name, (tenant, state.owner), state.size, look)
        if looked.size != state.size:
            raise VaultUnavailable("the object store does not give what it holds")
        sha256 = looked.sha256.hex()
        if state.declared_sha256 not in ("", sha256):
            raise _mismatch("sha256", "the bytes have another SHA-256 than was declared")
        media_type = sniffer.media_type(state.declared_type)
        if not content.allowed(media_type, self._settings.attachment_types):
            raise domain.Refused("CONTENT_REFUSED", "files of this type are not taken", media_type=media_type)
        drawn = await self._finished(tenant, attachment_id, state.owner, media_type, looked)
        measures = (drawn.width, drawn.height, tuple(sorted(drawn.thumbnails))) if drawn is not None else (0, 0, ())
        return domain.Complete(commands.now_us(), sha256, media_type, *measures, looked.is_sealed)

    async def _finished(
        self, tenant: str, attachment_id: str, owner: str, media_type: str, looked: Looked
    ) -> Drawn | None:
        """Make the bytes readable, and of a picture the thumbnails."""
        name, person = object_name(tenant, attachment_id), (tenant, owner)
        await self._files.finish(name, looked)
        if media_type not in content.PICTURES or looked.size > self._settings.picture_bytes:
            return None
        try:
            drawn = await self._drawer.draw(
                media_type, self._files.read(name, person, 0, looked.size, is_sealed=looked.is_sealed)
            )
        except TooManyPoints:
            most = str(self._settings.picture_pixels)
            raise domain.Refused(
                "CONTENT_REFUSED", "the picture has too many points", media_type=media_type, most_pixels=most
            ) from None
        for size, data in drawn.thumbnails.items() if drawn is not None else ():
            await self._files.put_once(object_name(tenant, attachment_id, size), person, data)
        return drawn

    async def give_up(self, request: pb.DeleteUploadRequest, call: Call) -> None:
        """Give up an upload; a complete one goes after the grace period. Raises Refused."""
        actor, now = actor_of(call.caller), commands.now_us()
        aggregate = rows.aggregate_of(actor.tenant, request.attachment_id)
        state: domain.Attachment = (await self._ledger.read(aggregate)).state
        if state.owner != actor.user_id:
            raise domain.not_found()
        if state.state not in domain.THERE or state.care is domain.Care.CONDEMNED:
            return
        named = _named(request, actor, call)
        if state.state is domain.State.UPLOADING:
            await self._ledger.execute(aggregate, domain.Delete(now, -1), named, timeout=call.remaining())
            await removing.remove_now(self._files.vault, actor.tenant, request.attachment_id)
            return
        if await seeing.is_named(self._ledger, actor.tenant, request.attachment_id):
            raise domain.wrong_state("sent")
        # It may be under way in a message: what is condemned can still be spared.
        receipt = await self._ledger.execute(
            aggregate, domain.Condemn(now, state.version), named, timeout=call.remaining()
        )
        if not receipt.payloads:
            raise Contention("the attachment changed meanwhile")

    async def _shown(self, actor: Actor, attachment_id: str) -> attachment_pb2.AttachmentInfo:
        state = await seeing.owned(self._ledger, actor, attachment_id)
        name = await self._names.of(actor.tenant, actor.user_id, attachment_id)
        if state.state is domain.State.COMPLETE:
            return wire.info(attachment_id, state, name, state.size)
        held = await self._files.held(object_name(actor.tenant, attachment_id))
        return wire.info(attachment_id, state, name, held.size)


def _named(request: Any, actor: Actor, call: Call) -> Request:
    content = request.SerializeToString(deterministic=True)
    return Request(request.request_id, fingerprint(type(request).__name__, content, actor.user_id), call.traceparent)


def _mismatch(what: str, message: str) -> domain.Refused:
    return domain.Refused("CONTENT_MISMATCH", message, what=what)


def _wrong_offset(held: int) -> domain.Refused:
    return domain.Refused("WRONG_UPLOAD_OFFSET", f"{held} bytes are held", held_bytes=str(held))
