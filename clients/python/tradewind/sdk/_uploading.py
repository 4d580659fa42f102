"""An upload's bytes on their way: read from wherever they are, sent over as many streams as it takes, never more than a few in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio

from tradewind.chat.v1 import attachment_service_pb2, attachment_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import TradewindError, Unavailable, from_rpc
from tradewind.sdk._resume import Patience

CHUNK_BYTES = 256 * 1024
WINDOW_BYTES = 4 * 1024 * 1024
"""So many bytes may be under way that the server has not acknowledged."""

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and how many there are."""


class Bytes(Protocol):
    """Where an upload's bytes are."""

    async def read(self, offset: int) -> bytes:
        """Give the next bytes from an offset on, at most `CHUNK_BYTES`; empty at the end."""

    def held(self, offset: int) -> None:
        """Everything before an offset is not asked for again."""


class Memory:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, offset: int) -> bytes:
        """See `Bytes`."""
        return self._data[offset : offset + CHUNK_BYTES]

    def held(self, offset: int) -> None:
        """Nothing is let go."""


class File:
    """A file, which must not change meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self, offset: int) -> bytes:
        """See `Bytes`. Raises OSError."""
        return await asyncio.to_thread(self._read, offset)

    def _read(self, offset: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)

    def held(self, offset: int) -> None:
        """Nothing is let go."""


class Flow:
    """Bytes that come once: kept until the server has them. `digest` is of all that came."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source: AsyncIterator[bytes] = aiter(source)
        self._kept = bytearray()
        self._begins = 0
        self.digest = hashlib.sha256()

    async def read(self, offset: int) -> bytes:
        """See `Bytes`."""
        while offset - self._begins >= len(self._kept):
            piece = await anext(self._source, None)
            if piece is None:
                return b""
            self.digest.update(piece)
            self._kept += piece
        at = offset - self._begins
        return bytes(self._kept[at : at + CHUNK_BYTES])

    def held(self, offset: int) -> None:
        """Let go of what the server has."""
        if offset > self._begins:
            del self._kept[: offset - self._begins]
            self._begins = offset


class Sending:
    """One upload being filled.

    Args:
        size: how many bytes it has in all.
        progress: told each time more bytes are there for good.
    """

    def __init__(
        self, connection: Connection, attachment_id: str, source: Bytes, size: int, progress: Progress
    ) -> None:
        self._connection = connection
        self._stub = attachment_service_pb2_grpc.AttachmentServiceStub(connection.channel)
        self._id, self._source, self._size, self._progress = attachment_id, source, size, progress
        self._held = 0
        self._more = asyncio.Event()
        self._failed: BaseException | None = None

    async def run(self, held: int, timeout: float | None) -> None:
        """Send what the server does not hold. Raises TradewindError once patience has ended, and what reading raises."""
        patience = Patience(self._connection.policy, renews=self._connection.renews)
        self._heard(held)
        while self._held < self._size:
            try:
                await self._stream(patience)
                if self._held >= self._size:
                    return
                failure: TradewindError = Unavailable("the upload's stream ended")
            except grpc.aio.AioRpcError as error:
                failure = from_rpc(error)
                if failure.reason == "WRONG_UPLOAD_OFFSET":  # what was given up for lost had arrived
                    failure = Unavailable(failure.message, reason=failure.reason)
            await asyncio.sleep(patience.wait(failure))
            request = attachment_service_pb2.GetUploadRequest(attachment_id=self._id)
            answer = await self._connection.unary(self._stub.GetUpload, request, timeout)
            self._heard(answer.attachment.held_bytes)

    def _heard(self, held: int) -> None:
        self._held = held
        self._source.held(held)
        self._progress(held, self._size)
        self._more.set()

    async def _stream(self, patience: Patience) -> None:
        metadata = await self._connection.metadata()
        patience.begun()
        async with self._connection.streaming(self._stub.UploadChunks, metadata=metadata) as call:
            writer = asyncio.create_task(self._write(call, self._held))
            try:
                async for answer in call:
                    patience.heard()
                    self._heard(answer.held_bytes)
            except asyncio.CancelledError:
                if self._failed is None:
                    raise
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        if self._failed is not None:
            raise self._failed

    async def _write(self, call: Any, at: int) -> None:
        frame = attachment_service_pb2.UploadChunksRequest(attachment_id=self._id, offset=at)
        try:
            while True:
                await call.write(frame)
                while at - self._held >= WINDOW_BYTES:
                    self._more.clear()
                    await self._more.wait()
                data = await self._source.read(at)
                if not data:
                    break
                at += len(data)
                frame = attachment_service_pb2.UploadChunksRequest(data=data)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # whoever reads the answers is told
        except Exception as error:  # noqa: BLE001 - what reading raises is the caller's
            self._failed = error
            call.cancel()
