"""A fast SMTP sink: takes every mail and counts; as little work as the protocol allows (RFC 5321, PIPELINING of RFC 2920)."""

import asyncio
from typing import cast


class Sink:
    """Listens on a free port of 127.0.0.1 and counts what it takes."""

    def __init__(self) -> None:
        self.mails = 0
        self.bytes = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Its address."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Session(self), "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.close()


class _Session(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._data = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without being of that class
        self._say(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answers what is whole."""
        self._buffer += data
        while self._step():
            continue

    def _step(self) -> bool:
        if self._data:
            end = self._buffer.find(b"\r\n.\r\n")
            if end < 0:
                return False
            self._sink.mails += 1
            self._sink.bytes += end
            self._buffer, self._data = self._buffer[end + 5 :], False
            self._say(b"250 2.0.0 taken\r\n")
            return True
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        self._command(line[:4].upper())
        return True

    def _command(self, verb: bytes) -> None:
        if verb == b"EHLO":
            self._say(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 20000000\r\n")
        elif verb == b"DATA":
            self._data = True
            self._say(b"354 go on\r\n")
        elif verb == b"QUIT":
            self._say(b"221 2.0.0 bye\r\n")
            assert self._transport is not None
            self._transport.close()
        else:
            self._say(b"250 2.1.0 ok\r\n")

    def _say(self, line: bytes) -> None:
        assert self._transport is not None
        self._transport.write(line)
