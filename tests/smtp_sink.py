"""A real SMTP server for tests and measurements: quick, and as unkind as the recipient's name asks for.

bounce@…            550 5.1.1 to RCPT                     defer@…        451 4.3.0 to RCPT
greylist@…          451 4.7.1 the first time, then taken   refuse-data@…  554 5.7.1 after the text
drop-after-data@…   the connection ends, unanswered, once the whole text is there
drop-before-data@…  the connection ends at RCPT            slow@…         answers the text after `slow_seconds`
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.ports import free_port

_ADDRESS = re.compile(rb"<([^<>]*)>")


@dataclass
class Taken:
    """A mail the server answered for: from, to, and the text as it was before dots were doubled."""

    sender: str
    recipient: str
    data: bytes


@dataclass
class Sink:
    """The server, and what it saw.

    Args:
        pipelining: offered in EHLO.
        size: the SIZE offered; 0 offers none.
        tls: offers STARTTLS with this context.
        keep: False only counts mails, for measurements.
        greeting: what it says first.
    """

    pipelining: bool = True
    size: int = 0
    tls: ssl.SSLContext | None = None
    keep: bool = True
    greeting: bytes = b"220 sink"
    slow_seconds: float = 0.5
    mails: list[Taken] = field(default_factory=list)
    count: int = 0
    connections: int = 0
    commands: list[bytes] = field(default_factory=list)
    open: set[asyncio.Transport] = field(default_factory=set)
    most_open: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    seen: set[bytes] = field(default_factory=set)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Sink:
        """Listens on a free port, or again on the one it had."""
        loop, self.port = asyncio.get_running_loop(), self.port or free_port()
        self._server = await loop.create_server(lambda: _Session(self), self.host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends all connections."""
        if self._server is not None:
            self._server.close()
        for transport in list(self.open):
            transport.abort()

    async def until(self, count: int, seconds: float = 60.0) -> None:
        """Waits until so many mails were taken."""
        async with asyncio.timeout(seconds):
            while self.count < count:
                self.arrived.clear()
                await self.arrived.wait()

    def to(self, recipient: str) -> list[Taken]:
        """The mails taken for a recipient."""
        return [mail for mail in self.mails if mail.recipient == recipient]

    def take(self, mail: Taken) -> None:
        """Counts a mail."""
        self.count += 1
        if self.keep:
            self.mails.append(mail)
        self.arrived.set()


class _Session(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._unread = bytearray()
        self._in_data = False
        self._upgrading = False
        self._from = self._to = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sink.connections += 1
        self._sink.open.add(transport)
        self._sink.most_open = max(self._sink.most_open, len(self._sink.open))
        self._say(self._sink.greeting)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sink.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while not self._transport.is_closing() and not self._upgrading:
            if self._in_data:
                if not self._text():
                    return
            else:
                end = self._unread.find(b"\r\n")
                if end < 0:
                    return
                line = bytes(self._unread[:end])
                del self._unread[: end + 2]
                self._line(line)

    def _line(self, line: bytes) -> None:
        verb = line[:4].upper()
        self._sink.commands.append(verb)
        if verb == b"EHLO":
            self._hello()
        elif verb == b"STAR" and self._sink.tls is not None:
            self._say(b"220 go ahead")
            self._upgrading = True
            self._task = asyncio.get_running_loop().create_task(self._upgrade(self._sink.tls))
        elif verb == b"MAIL":
            self._say(b"503 5.5.1 nested" if self._from else b"250 2.1.0 ok")
            self._from = self._from or _address(line)
        elif verb == b"RCPT":
            self._recipient(line)
        elif verb == b"DATA":
            self._in_data = bool(self._to)
            self._say(b"354 go ahead" if self._to else b"503 5.5.1 no recipient")
        elif verb in (b"RSET", b"HELO", b"NOOP"):
            self._from = self._to = b""
            self._say(b"250 2.0.0 ok")
        elif verb == b"QUIT":
            self._say(b"221 2.0.0 bye")
            self._transport.close()
        else:
            self._say(b"500 5.5.2 what?")

    def _hello(self) -> None:
        words = [b"sink"]
        if self._sink.pipelining:
            words.append(b"PIPELINING")
        if self._sink.size:
            words.append(b"SIZE %d" % self._sink.size)
        if self._sink.tls is not None and self._transport.get_extra_info("sslcontext") is None:
            words.append(b"STARTTLS")
        words.append(b"ENHANCEDSTATUSCODES")
        lines = [b"250-" + word for word in words[:-1]] + [b"250 " + words[-1]]
        self._say(b"\r\n".join(lines))

    def _recipient(self, line: bytes) -> None:
        address = _address(line)
        local = address.partition(b"@")[0].partition(b"+")[0]
        if local == b"bounce":
            self._say(b"550 5.1.1 no such person")
        elif local == b"defer":
            self._say(b"451 4.3.0 not now")
        elif local == b"greylist" and address not in self._sink.seen:
            self._sink.seen.add(address)
            self._say(b"451 4.7.1 come again")
        elif local == b"drop-before-data":
            self._transport.abort()
        else:
            self._to = address
            self._say(b"250 2.1.5 ok")

    def _text(self) -> bool:
        """Takes the text once all of it is there."""
        end = 0 if self._unread.startswith(b".\r\n") else self._unread.find(b"\r\n.\r\n") + 2
        if end == 1:
            return False
        data = bytes(self._unread[:end])
        del self._unread[: end + 3]
        self._in_data = False
        mail = Taken(self._from.decode(), self._to.decode(), _unstuffed(data))
        local = self._to.partition(b"@")[0].partition(b"+")[0]
        self._from = self._to = b""
        if local == b"refuse-data":
            self._say(b"554 5.7.1 no")
            return True
        self._sink.take(mail)
        if local == b"drop-after-data":
            self._transport.abort()
        elif local == b"slow":
            asyncio.get_running_loop().call_later(self._sink.slow_seconds, self._say, b"250 2.0.0 taken")
        else:
            self._say(b"250 2.0.0 taken")
        return True

    async def _upgrade(self, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(self._transport, self, context, server_side=True)
        except OSError:
            return
        assert transport is not None
        self._sink.open.discard(self._transport)
        self._transport = transport
        self._sink.open.add(transport)
        self._upgrading = False
        self.data_received(b"")  # what came while the handshake was ending

    def _say(self, line: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(line + b"\r\n")


def _address(line: bytes) -> bytes:
    found = _ADDRESS.search(line)
    return found[1] if found else b""


def _unstuffed(data: bytes) -> bytes:
    data = data.replace(b"\r\n..", b"\r\n.")
    return data[1:] if data.startswith(b"..") else data


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """Makes a certificate of `host` signed by itself; returns the files of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file
