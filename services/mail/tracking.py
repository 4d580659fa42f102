"""Open tracking: signed addresses of a picture, and the small HTTP server that hands it out and writes the opening down."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web

PIXEL: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A transparent picture of one point."""
MOST_TOKEN: Final = 512
MOST_CONNECTIONS: Final = 1000
SWEEP_SECONDS: Final = 15.0
_SIGNATURE_BYTES: Final = 16
_FEWEST_KEY_BYTES: Final = 32
_PURPOSE: Final = b"open\x00"
_HEADERS: Final = {
    "Cache-Control": "no-store, no-cache, must-revalidate, max-age=0",
    "Pragma": "no-cache",
    "Expires": "0",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

Opened = Callable[[str, str], Awaitable[None]]
"""Takes tenant and mail id of a picture that was fetched."""


class UnusableKey(Exception):
    """A file holds no key for signing addresses."""


class Links:
    """Signs and reads addresses. The token says tenant and mail, and nothing of the person."""

    def __init__(self, base_url: str, keys: Sequence[bytes]) -> None:
        """Sign with the first key, take all. ``base_url`` is how the server below is reached from outside."""
        self._base = base_url.rstrip("/")
        self._keys = tuple(keys)

    @classmethod
    def from_file(cls, base_url: str, path: Path) -> Links:
        """Read the keys, one a line, as hexadecimal text. Raises UnusableKey."""
        try:
            keys = [bytes.fromhex(line) for line in path.read_text(encoding="ascii").split()]
        except ValueError:
            raise UnusableKey(f"{path} holds no hexadecimal text") from None
        if not keys or min(map(len, keys)) < _FEWEST_KEY_BYTES:
            raise UnusableKey(f"a key for tracked addresses has at least {_FEWEST_KEY_BYTES} bytes")
        return cls(base_url, keys)

    def picture(self, tenant: str, mail_id: str) -> str:
        """Give the address of a mail's picture."""
        body = f"{tenant}\x00{mail_id}".encode()
        return f"{self._base}/o/{_text(body + _signature(self._keys[0], body))}.gif"

    def read(self, token: str) -> tuple[str, str] | None:
        """Give tenant and mail id of a token; None where it is none of ours."""
        if len(token) > MOST_TOKEN:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
        # Every key is tried, so that the time taken tells nothing.
        matches = [hmac.compare_digest(signature, _signature(key, body)) for key in self._keys]
        if not any(matches):
            return None
        tenant, _, mail_id = body.decode("utf-8", "replace").partition("\x00")
        return tenant, mail_id

    def add_picture(self, html: str, tenant: str, mail_id: str) -> str:
        """Give HTML with the mail's picture at its end."""
        picture = f'<img src="{self.picture(tenant, mail_id)}" width="1" height="1" alt="" style="display:none">'
        head, end, tail = html.rpartition("</body>")
        return f"{head}{picture}{end}{tail}" if end else html + picture


class PictureServer:
    """Hands out pictures: to any valid token, even while openings cannot be written down; 404 to all else."""

    def __init__(
        self, links: Links, opened: Opened, *, connections: int = MOST_CONNECTIONS, seconds: float = SWEEP_SECONDS
    ) -> None:
        """Call ``opened`` for each valid fetch; what it raises has been dealt with there.

        At most ``connections`` at a time, each for twice ``seconds`` at most, whatever its client does or does not send.
        """
        self._links = links
        self._most = connections
        self._seconds = seconds
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._were_here: set[Any] = set()
        self._opened = opened
        app = web.Application(client_max_size=1024)
        app.router.add_get(r"/o/{token:[A-Za-z0-9_-]+}.gif", self._picture)
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
        """Hang up on whoever was here at the last sweep already: aiohttp would wait for ever for a first request."""
        server = self._runner.server
        now_here = set(server.connections) if server is not None else set()
        for connection in now_here & self._were_here:
            if connection.transport is not None:
                connection.transport.abort()
        self._were_here = now_here - self._were_here
        self._sweeper = asyncio.get_running_loop().call_later(self._seconds, self._sweep)

    async def _picture(self, request: web.Request) -> web.Response:
        found = self._links.read(request.match_info["token"])
        if found is None:
            return web.Response(status=404, headers=_HEADERS)
        if request.method == "GET":
            await self._opened(*found)
        return web.Response(body=PIXEL, content_type="image/gif", headers=_HEADERS)


class _TurnedAway(asyncio.Protocol):
    """Ends a connection that there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Leave."""
        transport.close()


def _signature(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + body, hashlib.sha256)[:_SIGNATURE_BYTES]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
