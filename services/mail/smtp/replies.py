"""SMTP replies as they come in (RFC 5321, 4.2), within bounds."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from dataclasses import dataclass
from functools import cache

from services.mail.domain import Reply

MOST_UNREAD = 64 * 1024
"""Bytes of replies nobody has asked for, after which a server is not one."""
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?")
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")


class ConnectionLost(Exception):
    """The connection ended, or the server spoke no SMTP. ``reply`` is the last word, where there was one."""

    def __init__(self, message: str, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.reply = reply or Reply()


@dataclass(frozen=True, slots=True)
class ServerReply:
    """A whole reply: its code and its lines. The text may hold addresses: never logged."""

    code: int
    lines: tuple[str, ...]

    def short(self) -> Reply:
        """Give the codes without the text."""
        found = _ENHANCED.match(self.lines[0]) if self.lines else None
        agrees = found is not None and found[1][0] == str(self.code)[0]
        return Reply(self.code, found[1] if found is not None and agrees else "")


class ReplyProtocol(asyncio.Protocol):
    """Turns what a server sends into replies, and says when what was written has left."""

    def __init__(self) -> None:
        """Wait for a connection."""
        self._loop = asyncio.get_running_loop()
        self._unread = b""
        self._lines: list[str] = []
        self._replies: deque[ServerReply] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._paused = False
        self.lost = False

    @property
    def silent(self) -> bool:
        """Whether nothing has come that was not read: else an idle server has said goodbye, or somebody slipped replies in."""
        return not (self._unread or self._lines or self._replies)

    async def reply(self) -> ServerReply:
        """Give the next reply. Raises ConnectionLost."""
        while not self._replies:
            if self.lost:
                raise ConnectionLost("the connection ended")
            self._reader = self._loop.create_future()
            await self._reader
        return self._replies.popleft()

    async def drained(self) -> None:
        """Wait until what was written is with the operating system. Raises ConnectionLost."""
        while self._paused and not self.lost:
            self._writer = self._loop.create_future()
            await self._writer
        if self.lost:
            raise ConnectionLost("the connection ended")

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        if len(self._unread) > MOST_UNREAD or len(self._lines) + len(self._replies) + len(lines) > MOST_UNREAD // 64:
            self.fail()
            return
        for line in lines:
            self._take(line.rstrip(b"\r"))
        if self._replies:
            _wake(self._reader)

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell whoever waits."""
        self.fail()

    def fail(self) -> None:
        """Give the connection up."""
        self.lost = True
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        """Note that the operating system takes no more."""
        self._paused = True

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._paused = False
        _wake(self._writer)

    def _take(self, line: bytes) -> None:
        found = _LINE.fullmatch(line)
        if found is None:
            self.fail()
            return
        self._lines.append((found[3] or b"").decode("ascii", "replace"))
        if found[2] != b"-":
            self._replies.append(ServerReply(int(found[1]), tuple(self._lines)))
            self._lines = []


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


@cache
def any_certificate() -> ssl.SSLContext:
    """Give the context of opportunistic TLS (RFC 7435): what cannot be verified is still better than plain text."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
