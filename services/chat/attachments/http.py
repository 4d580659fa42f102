"""Attachments by HTTP: whoever has a signed link can fetch what it leads to, directly or by way of a CDN."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
from aiohttp import web

from services.chat.attachments import answers, domain, rows
from services.chat.attachments.files import Files
from services.chat.attachments.links import Link, Links
from services.chat.attachments.names import Names
from services.chat.attachments.transfers import Transfers
from services.chat.attachments.uploads import object_name
from services.chat.attachments.vault import NoObject, VaultUnavailable
from services.chat.privacy.keys import Person
from services.ledger.errors import LedgerError
from services.ledger.ledger import Ledger
from services.runtime.errors import Refused

MOST_CONNECTIONS: Final = 1000
_QUIET_SECONDS: Final = 15.0
_SLOWEST_WRITE: Final = 30.0
_JPEG: Final = b"\xff\xd8\xff"
_log = structlog.get_logger(__name__)


class DownloadServer:
    """Hands out attachments to any valid link; 403 to all else.

    At most ``connections`` at a time; one that asks for nothing, or does not take what it asked for, is hung up on.
    """

    def __init__(
        self, ledger: Ledger, files: Files, transfers: Transfers, links: Links, *, cache: str,
        connections: int = MOST_CONNECTIONS, quiet: float = _QUIET_SECONDS,
    ) -> None:  # fmt: skip
        """Serve what ``files`` holds; ``cache``: ``public`` or ``private``, who may keep it until its link expires."""
        self._ledger, self._files, self._transfers, self._links = ledger, files, transfers, links
        self._names = Names(ledger, files.keys)
        self._cache, self._most, self._quiet = cache, connections, quiet
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._busy: set[Any] = set()
        self._were_quiet: set[Any] = set()
        app = web.Application(client_max_size=1024)
        app.router.add_get(r"/a/{token:[A-Za-z0-9_-]+}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=15.0)
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(self._connection, host, port, backlog=256)
        self.port = int(self._listener.sockets[0].getsockname()[1])
        self._sweep()

    async def close(self) -> None:
        """Stop, after what is under way."""
        if self._listener is not None:
            self._listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._runner.cleanup()

    def _connection(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= self._most:
            return _TurnedAway()
        return server()

    def _sweep(self) -> None:
        """Hang up on who was here at the last sweep already and is not being served: aiohttp would wait for ever for a first request."""
        server = self._runner.server
        connections = server.connections if server is not None else ()
        quiet = {each for each in connections if each.transport is not None and each.transport not in self._busy}
        for connection in quiet & self._were_quiet:
            if connection.transport is not None:
                connection.transport.abort()
        self._were_quiet = quiet - self._were_quiet
        self._sweeper = asyncio.get_running_loop().call_later(self._quiet, self._sweep)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        link = self._links.read(request.match_info["token"], time.time())
        if link is None:
            return _refused(403)
        transport = request.transport
        self._busy.add(transport)
        try:
            with self._transfers.one(link.tenant):
                return await self._answer(request, link)
        except NoObject:
            return _refused(404)
        except (VaultUnavailable, LedgerError, Refused) as error:
            _log.warning("download_unavailable", reason=getattr(error, "reason", ""))
            return _refused(503)
        finally:
            self._busy.discard(transport)

    async def _answer(self, request: web.Request, link: Link) -> web.StreamResponse:
        aggregate = rows.aggregate_of(link.tenant, link.attachment_id)
        state: domain.Attachment = (await self._ledger.read(aggregate)).state
        if state.state is not domain.State.COMPLETE:
            return _refused(404)
        name, person = object_name(link.tenant, link.attachment_id, link.thumbnail), (link.tenant, state.owner)
        tag = f'"{state.sha256}-{link.thumbnail}"' if link.thumbnail else f'"{state.sha256}"'
        left = max(0, int(link.expires - time.time()))
        headers = {"ETag": tag, "Cache-Control": f"{self._cache}, max-age={left}, immutable", **answers.safety()}
        if answers.has_it(request.headers, tag):
            return web.Response(status=304, headers=headers)
        size = await self._files.size(name) if link.thumbnail else state.size
        media_type = await self._type_of(name, person, state) if link.thumbnail else state.media_type
        called = await self._names.of(link.tenant, state.owner, link.attachment_id)
        headers["Content-Disposition"] = answers.disposition(media_type, called)
        headers["Accept-Ranges"] = "bytes"
        try:
            part = answers.part(request.headers, tag, size) if request.method == "GET" else None
        except answers.Unsatisfiable:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}", **answers.safety()})
        offset, length = part or (0, size)
        response = web.StreamResponse(status=206 if part else 200, headers=headers)
        if part:
            response.headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{size}"
        response.headers["Content-Type"] = answers.content_type(media_type)
        response.content_length = length
        wanted = length if request.method == "GET" else 0
        chunks = self._files.read(name, person, offset, wanted, is_sealed=state.sealed)
        return await self._send(request, response, chunks)

    async def _send(
        self, request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]
    ) -> web.StreamResponse:
        # What cannot be read is said before anything else is; later only the connection can be broken.
        first = await anext(chunks, b"")
        await response.prepare(request)
        try:
            await self._write(response, first)
            async for chunk in chunks:
                await self._write(response, chunk)
            await response.write_eof()
        except (TimeoutError, ConnectionError, VaultUnavailable, LedgerError, NoObject) as error:
            _log.info("download_cut", error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        if data:
            async with asyncio.timeout(_SLOWEST_WRITE):
                await response.write(data)
            self._transfers.down += len(data)

    async def _type_of(self, name: str, person: Person, state: domain.Attachment) -> str:
        """Tell what a thumbnail is: JPEG, or WebP."""
        head = await anext(self._files.read(name, person, 0, len(_JPEG), is_sealed=state.sealed), b"")
        return "image/jpeg" if head == _JPEG else "image/webp"


class _TurnedAway(asyncio.Protocol):
    """Ends a connection that there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Leave."""
        transport.close()


def _refused(status: int) -> web.Response:
    headers = {"Cache-Control": "no-store", **answers.safety()}
    if status == 503:
        headers["Retry-After"] = "1"
    return web.Response(status=status, headers=headers)
