"""One SMTP session with one server: greeting, EHLO, STARTTLS, and mails one after another (RFC 5321, 3207, 2920)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

from services.mail.domain import Reply
from services.mail.smtp.replies import ConnectionLost, ReplyProtocol, ServerReply, any_certificate

CRLF = b"\r\n"


class Tls(Enum):
    """Whether a session is encrypted."""

    NEVER = "never"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a server, in seconds (RFC 5321, 4.5.3.2 suggests longer ones; a retry is cheap here)."""

    connect: float = 30.0
    command: float = 60.0
    data: float = 120.0

    @property
    def until_handed_over(self) -> float:
        """The end of a mail's text is sent within this time, or never."""
        return self.command + self.data

    @property
    def transaction(self) -> float:
        """No hand-over takes longer, with its answer."""
        return self.until_handed_over + self.data


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens, and under which TLS policy it is spoken to."""

    host: str
    port: int = 25
    tls: Tls = Tls.OPPORTUNISTIC

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Rejected(Exception):
    """The server answered no; the session can take another mail."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"the server answered {reply.code}")
        self.reply = reply


class TlsFailed(ConnectionLost):
    """The handshake failed."""


class OutcomeLost(Exception):
    """The connection ended after the whole mail was handed over and before the answer: the server may or may not have it."""


class Session:
    """An open session. Not for two at a time."""

    def __init__(
        self, transport: asyncio.Transport, protocol: ReplyProtocol, endpoint: Endpoint, timeouts: Timeouts
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._timeouts = timeouts
        self._extensions: dict[str, str] = {}
        self.endpoint = endpoint
        self.encrypted = False
        self.sent = 0

    @classmethod
    async def open(
        cls, endpoint: Endpoint, hello: str, timeouts: Timeouts, tls_context: ssl.SSLContext | None = None
    ) -> Session:
        """Connect and greet.

        Args:
            endpoint: where to.
            hello: this host's name for EHLO.
            timeouts: how long to wait.
            tls_context: for REQUIRED; its default verifies the server's name against the system's certificates.

        Raises:
            ConnectionLost: no connection, no SMTP, no greeting in time, or a refusing one (its ``reply``).
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeouts.connect):
                transport, protocol = await loop.create_connection(ReplyProtocol, endpoint.host, endpoint.port)
        except (OSError, TimeoutError) as error:
            raise ConnectionLost(f"no connection: {type(error).__name__}") from None
        session = cls(transport, protocol, endpoint, timeouts)
        try:
            await session._greet(hello, tls_context)
        except BaseException:
            session.abort()
            raise
        return session

    @property
    def usable(self) -> bool:
        """Whether another mail may be sent over it: still open, and the server has said nothing since."""
        return not self._protocol.lost and not self._transport.is_closing() and self._protocol.silent

    async def send(self, sender: str, recipient: str, message: bytes, before: float | None = None) -> Reply:
        """Hand a mail over; not if its end could only be sent after ``before``, in the loop's time.

        Returns:
            The server's 2xx reply: it has the mail.

        Raises:
            Rejected: it answered 4xx or 5xx.
            ConnectionLost: the session ended before the mail's end was sent: it cannot have the mail.
            OutcomeLost: the session ended after that.
        """
        _check_size(self._extensions.get("SIZE", ""), message)
        # The body is 7-bit by making; only an address could need an extension.
        try:
            await self._envelope(b"MAIL FROM:<%s>" % sender.encode(), b"RCPT TO:<%s>" % recipient.encode())
        except Rejected:
            await self._reset()
            raise
        try:
            async with self._within(self._timeouts.data):
                self._transport.write(stuffed(message))
                await self._protocol.drained()
        except BaseException:
            self.abort()
            raise
        if before is not None and asyncio.get_running_loop().time() > before:
            # This process slept, and its attempt may have been given up meanwhile.
            self.abort()
            raise ConnectionLost("too late")
        # From here on the server may have it, whatever happens.
        self._transport.write(b".\r\n")
        try:
            async with self._within(self._timeouts.data):
                reply = await self._protocol.reply()
        except ConnectionLost:
            raise OutcomeLost("no answer to a mail that was handed over") from None
        self.sent += 1
        return self._accepted(reply, 250)

    async def close(self) -> None:
        """Say QUIT and leave; who does not answer at once is left without."""
        if self.usable:
            with contextlib.suppress(ConnectionLost):
                async with self._within(1.0):
                    await self._command(b"QUIT")
        self.abort()

    def abort(self) -> None:
        """Leave at once."""
        self._protocol.fail()
        self._transport.abort()

    async def _greet(self, hello: str, tls_context: ssl.SSLContext | None) -> None:
        async with self._within(self._timeouts.command):
            greeting = await self._protocol.reply()
            if greeting.code != 220:
                raise ConnectionLost("no greeting", greeting.short())
            await self._hello(hello)
            if self.endpoint.tls is not Tls.NEVER:
                await self._encrypt(hello, tls_context)

    async def _hello(self, hello: str) -> None:
        reply = await self._command(b"EHLO %s" % hello.encode("ascii"))
        if reply.code != 250:
            reply = await self._command(b"HELO %s" % hello.encode("ascii"))
            if reply.code != 250:
                raise ConnectionLost("no welcome", reply.short())
            self._extensions = {}
            return
        words = (line.partition(" ") for line in reply.lines[1:])
        self._extensions = {name.upper(): rest for name, _, rest in words}

    async def _encrypt(self, hello: str, tls_context: ssl.SSLContext | None) -> None:
        required = self.endpoint.tls is Tls.REQUIRED
        if "STARTTLS" not in self._extensions:
            if required:
                raise ConnectionLost("the server offers no TLS")
            return
        reply = await self._command(b"STARTTLS")
        if reply.code != 220:
            if required:
                raise ConnectionLost("the server refused TLS", reply.short())
            return
        if not self._protocol.silent:
            # Replies sent in plain text before the handshake would be taken for encrypted ones.
            raise ConnectionLost("the server spoke before the handshake")
        context = (tls_context or ssl.create_default_context()) if required else any_certificate()
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self._transport, self._protocol, context, server_hostname=self.endpoint.host
            )
        except (OSError, ssl.SSLError) as error:
            raise TlsFailed(f"no TLS: {type(error).__name__}") from None
        if transport is None:
            raise TlsFailed("no TLS: the connection ended")
        self._transport = transport
        self.encrypted = True
        await self._hello(hello)

    async def _envelope(self, mail: bytes, rcpt: bytes) -> None:
        """Name sender and recipient and ask for the text, in one go where the server allows."""
        async with self._within(self._timeouts.command):
            if "PIPELINING" not in self._extensions:
                for line in (mail, rcpt):
                    self._accepted(await self._command(line), 250)
                self._accepted(await self._command(b"DATA"), 354)
                return
            self._transport.write(CRLF.join((mail, rcpt, b"DATA", b"")))
            first, second, data = [await self._protocol.reply() for _ in range(3)]
            refused = next((reply for reply in (first, second) if reply.code // 100 != 2), None)
            if refused is None:
                self._accepted(data, 354)
                return
            if data.code == 354:
                # RFC 2920, 3.1: a server that wants the text of a mail without recipients gets an empty one, and refuses it.
                self._transport.write(b".\r\n")
                await self._protocol.reply()
            self._accepted(refused, 250)

    async def _reset(self) -> None:
        """End a transaction that was refused half-way, or the session where that does not work."""
        if self._protocol.lost:
            return
        with contextlib.suppress(ConnectionLost):
            async with self._within(self._timeouts.command):
                reply = await self._command(b"RSET")
            if reply.code == 250:
                return
        self.abort()

    async def _command(self, line: bytes) -> ServerReply:
        self._transport.write(line + CRLF)
        return await self._protocol.reply()

    def _accepted(self, reply: ServerReply, wanted: int) -> Reply:
        short = reply.short()
        if reply.code == 421:
            self.abort()
        if reply.code // 100 != wanted // 100:
            raise Rejected(short)
        return short

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            self.abort()
            raise ConnectionLost("no answer in time") from None


def stuffed(message: bytes) -> bytes:
    """Double the dots that begin lines (RFC 5321, 4.5.2) and end the last line."""
    if not message.endswith(CRLF):
        message += CRLF
    message = message.replace(b"\r\n.", b"\r\n..")
    return b"." + message if message.startswith(b".") else message


def _check_size(limit: str, message: bytes) -> None:
    """Spare a server a text it has said it will not take (RFC 1870)."""
    if limit.isdecimal() and 0 < int(limit) < len(message):
        raise Rejected(Reply(552, "5.3.4"))
