"""The local SMTP inbox: takes every mail and keeps it in a Maildir, for standalone and for people who want to see what they sent.

Run as ``python -m services.standalone.inbox``. It listens on this machine only unless told otherwise, relays nothing, keeps a bounded
number of mails, and can be as unkind as a real server where the recipient's name asks for it:

    bounce@…    550 5.1.1 to RCPT          defer@…            451 4.3.0 to RCPT
    slow@…      answers after 5 s          drop-after-data@…  leaves once the whole text is there, unanswered (and unkept)
    greylist@…  451 4.7.1 the first time, then taken
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import Field

from services.runtime import logs
from services.runtime.config import Address, RuntimeSettings, load
from services.runtime.run import run
from services.runtime.signals import told_to_end

SLOW_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 60.0
_MOST_GREYLISTED: Final = 10_000
_DRAFT_SECONDS: Final = 60.0
_CANNOT_LISTEN: Final = 3


class InboxSettings(RuntimeSettings):
    """What the inbox can be told, beside what every process can."""

    listen: Address = "127.0.0.1:2525"
    """Where it listens."""
    inbox_dir: Path = Path("inbox")
    """The Maildir."""
    inbox_mails: int = Field(10_000, ge=1)
    """Mails kept; older ones are deleted."""
    inbox_mail_bytes: int = Field(default=8_388_608, ge=1024)
    """Largest mail taken."""
    inbox_connections: int = Field(200, ge=1)
    """Connections at a time; more are turned away."""


class Maildir:
    """A bounded Maildir. Its methods block; call them in a thread."""

    def __init__(self, folder: Path, most: int) -> None:
        """Keep at most ``most`` mails in ``folder``. Raises OSError."""
        self._folder = folder
        self._most = most
        self._numbers = count()
        self._host = socket.gethostname().replace("/", "_").replace(":", "_")
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for draft in (folder / "tmp").iterdir():
            _drop_if_left(draft)
        self._kept = sorted((folder / "new").iterdir())

    def add(self, content: bytes) -> None:
        """Keep a mail: once this returns, it survives a power cut. Raises OSError."""
        name = f"{time.time_ns():020d}.{os.getpid()}_{next(self._numbers)}.{self._host}"
        draft = self._folder / "tmp" / name
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        kept = self._folder / "new" / name
        draft.replace(kept)
        self._kept.append(kept)
        while len(self._kept) > self._most:
            self._kept.pop(0).unlink(missing_ok=True)


def _drop_if_left(draft: Path) -> None:
    """Delete a draft of a process that died in the middle; a young one may be another inbox's, on the same Maildir, that is at it now."""
    with suppress(FileNotFoundError):
        if time.time() - draft.stat().st_mtime > _DRAFT_SECONDS:
            draft.unlink()


class Handler:
    """What aiosmtpd asks."""

    def __init__(self, maildir: Maildir) -> None:
        """Keep mails in ``maildir``."""
        self._maildir = maildir
        self._greylisted: dict[str, None] = {}
        self._lock = asyncio.Lock()
        self._log = structlog.get_logger()

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Answer RCPT."""
        local = _local(address)
        if local == "bounce":
            return "550 5.1.1 no such person"
        if local == "defer":
            return "451 4.3.0 not now"
        if local == "greylist" and address not in self._greylisted:
            self._greylisted[address] = None
            if len(self._greylisted) > _MOST_GREYLISTED:
                del self._greylisted[next(iter(self._greylisted))]
            return "451 4.7.1 come again"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        """Answer a mail's text."""
        locals_ = {_local(address) for address in envelope.rcpt_tos}
        if "drop-after-data" in locals_:
            _abort(server)
            return "421 4.3.2 gone"
        if "slow" in locals_:
            await asyncio.sleep(SLOW_SECONDS)
        content = envelope.original_content or b""
        try:
            # One after the other, so that the Maildir's bound is kept.
            async with self._lock:
                await asyncio.to_thread(self._maildir.add, content)
        except OSError as error:
            self._log.error("mail_not_kept", error=type(error).__name__)
            return "452 4.3.1 no room"
        self._log.info("mail_kept", bytes=len(content))
        return "250 2.0.0 kept"


class Inbox:
    """The server."""

    def __init__(self, settings: InboxSettings) -> None:
        """Serve by ``settings``. Raises OSError where the Maildir cannot be made."""
        self._settings = settings
        self._handler = Handler(Maildir(settings.inbox_dir, settings.inbox_mails))
        self._open: set[SMTP] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises OSError."""
        host, _, port = self._settings.listen.rpartition(":")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, host.strip("[]"), int(port), backlog=256)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Take no more."""
        if self._server is not None:
            self._server.close()
        for session in list(self._open):
            _abort(session)

    def _session(self) -> asyncio.Protocol:
        inbox = self._open

        class Counted(SMTP):
            """A session that is counted while it lasts."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                """Begin."""
                inbox.add(self)
                super().connection_made(transport)

            def connection_lost(self, error: Exception | None) -> None:
                """End."""
                inbox.discard(self)
                super().connection_lost(error)

        if len(inbox) >= self._settings.inbox_connections:
            return _TurnedAway()
        return Counted(
            self._handler,
            data_size_limit=self._settings.inbox_mail_bytes,
            hostname="localhost",
            ident="inbox",
            timeout=IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
        )


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and leave."""
        if isinstance(transport, asyncio.Transport):
            transport.write(b"421 4.3.2 too many connections\r\n")
            transport.close()


def _abort(session: SMTP) -> None:
    if isinstance(session.transport, asyncio.Transport):
        session.transport.abort()


def _local(address: str) -> str:
    return address.partition("@")[0].partition("+")[0].lower()


async def main(settings: InboxSettings) -> None:
    """Take mails until told to end."""
    logs.configure("inbox", settings.log_level)
    with told_to_end() as told:
        try:
            inbox = Inbox(settings)
            await inbox.start()
        except OSError as error:
            sys.stderr.write(f"cannot start: {settings.listen}, {settings.inbox_dir}: {error.strerror or error}\n")
            raise SystemExit(_CANNOT_LISTEN) from error
        structlog.get_logger().info("server_listening", listen=settings.listen, port=inbox.port)
        await told.wait()
        await inbox.close()


if __name__ == "__main__":
    run(main(load(InboxSettings)))
