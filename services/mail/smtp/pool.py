"""Open sessions, kept for the next mail: a bounded number to each server, a bounded number in all, each for a bounded time."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from services.mail.domain import Reply
from services.mail.smtp.connection import Endpoint, Rejected, Session, Timeouts, Tls, TlsFailed


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a pool. ``idle`` and ``age`` are seconds a session waits for its next mail, and lives at most."""

    per_server: int = 16
    total: int = 256
    mails_per_session: int = 1000
    idle: float = 15.0
    age: float = 300.0


class Busy(Exception):
    """All sessions are in use."""


@dataclass(slots=True)
class _Kept:
    session: Session
    opened: float
    since: float


@dataclass(slots=True)
class _Server:
    slots: asyncio.Semaphore
    idle: deque[_Kept] = field(default_factory=deque)
    users: int = 0


class Pool:
    """Sessions by server."""

    def __init__(
        self,
        hello: str,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        """Greet servers as ``hello``."""
        self._hello = hello
        self._limits = limits or Limits()
        self.timeouts = timeouts or Timeouts()
        self._tls_context = tls_context
        self._servers: OrderedDict[Endpoint, _Server] = OrderedDict()
        self._total = asyncio.Semaphore(self._limits.total)
        self._loop = asyncio.get_running_loop()
        self._sweeper = asyncio.create_task(self._sweep())

    @asynccontextmanager
    async def session(self, endpoint: Endpoint, *, wait: float | None = None) -> AsyncIterator[Session]:
        """Lend a session: a kept one, or a new one. Waits while the server has as many as it may.

        Raises:
            Busy: none was free within ``wait`` seconds.
            ConnectionLost: none could be opened.
        """
        server = self._servers.get(endpoint)
        if server is None:
            server = self._servers[endpoint] = _Server(asyncio.Semaphore(self._limits.per_server))
        server.users += 1
        try:
            async with self._turn(server, wait):
                kept = await self._take(endpoint, server)
                clean = False
                try:
                    yield kept.session
                    clean = True
                except Rejected:
                    clean = True
                    raise
                finally:
                    self._give_back(server, kept, clean)
        finally:
            server.users -= 1
            if not server.users and not server.idle:
                self._servers.pop(endpoint, None)

    async def send_once(self, endpoint: Endpoint, sender: str, recipient: str, message: bytes, before: float) -> Reply:
        """Send one mail over a new session, in the place of a kept one that turned out dead. Returns and raises as ``Session.send``."""
        session = await self._open(endpoint)
        try:
            return await session.send(sender, recipient, message, before)
        finally:
            await session.close()

    async def close(self) -> None:
        """Leave every kept session politely."""
        self._sweeper.cancel()
        kept = [kept for server in self._servers.values() for kept in server.idle]
        self._servers.clear()
        await asyncio.gather(self._sweeper, *(each.session.close() for each in kept), return_exceptions=True)

    @asynccontextmanager
    async def _turn(self, server: _Server, wait: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(wait):
                await server.slots.acquire()
                try:
                    await self._total.acquire()
                except BaseException:
                    server.slots.release()
                    raise
        except TimeoutError:
            raise Busy("the server has as many sessions as it may") from None
        try:
            yield
        finally:
            self._total.release()
            server.slots.release()

    async def _take(self, endpoint: Endpoint, server: _Server) -> _Kept:
        while server.idle:
            kept = server.idle.pop()
            if self._fit(kept):
                return kept
            kept.session.abort()
        now = self._loop.time()
        return _Kept(await self._open(endpoint), now, now)

    async def _open(self, endpoint: Endpoint) -> Session:
        try:
            return await Session.open(endpoint, self._hello, self.timeouts, self._tls_context)
        except TlsFailed:
            if endpoint.tls is Tls.REQUIRED:
                raise
            # RFC 7435: a broken handshake is no worse than none offered.
            return await Session.open(replace(endpoint, tls=Tls.NEVER), self._hello, self.timeouts)

    def _fit(self, kept: _Kept) -> bool:
        now = self._loop.time()
        return (
            kept.session.usable
            and kept.session.sent < self._limits.mails_per_session
            and now - kept.since < self._limits.idle
            and now - kept.opened < self._limits.age
        )

    def _give_back(self, server: _Server, kept: _Kept, clean: bool) -> None:
        kept.since = self._loop.time()
        if clean and self._fit(kept):
            server.idle.append(kept)
        else:
            kept.session.abort()

    async def _sweep(self) -> None:
        """Leave sessions that have waited too long, so that servers need not throw us out."""
        while True:
            await asyncio.sleep(self._limits.idle / 2)
            stale: list[_Kept] = []
            for endpoint, server in list(self._servers.items()):
                stale += [kept for kept in server.idle if not self._fit(kept)]
                server.idle = deque(kept for kept in server.idle if self._fit(kept))
                if not server.users and not server.idle:
                    self._servers.pop(endpoint, None)
            await asyncio.gather(*(kept.session.close() for kept in stale), return_exceptions=True)
