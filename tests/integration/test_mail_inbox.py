"""The local inbox, as a process and as a server that the sending engine talks to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.mail.domain import Reply
from services.mail.smtp.connection import Endpoint, OutcomeLost, Rejected, Session, Timeouts
from services.mail.smtp.replies import ConnectionLost
from services.standalone.inbox import Inbox, InboxSettings

TEXT = b"Subject: Hello\r\n\r\n.\r\nHello\r\n"


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    made = Inbox(InboxSettings(listen="127.0.0.1:0", inbox_dir=tmp_path / "inbox", inbox_mails=5, inbox_connections=2))
    await made.start()
    yield made
    await made.close()


async def connect(port: int) -> Session:
    return await Session.open(Endpoint("127.0.0.1", port), "client.example", Timeouts(5.0, 5.0, 5.0))


async def send(session: Session, local: str) -> Reply:
    return await session.send("orders@tradewind.example", f"{local}@example.org", TEXT)


async def test_mails_are_kept_as_they_came_and_the_oldest_go(inbox: Inbox, tmp_path: Path) -> None:
    session = await connect(inbox.port)
    for number in range(8):
        assert await send(session, f"to{number}") == Reply(250, "2.0.0")
    await session.close()
    kept = sorted((tmp_path / "inbox" / "new").iterdir())
    assert len(kept) == 5
    assert {path.read_bytes() for path in kept} == {TEXT}
    assert list((tmp_path / "inbox" / "tmp").iterdir()) == []


async def test_it_is_as_unkind_as_asked(inbox: Inbox, tmp_path: Path) -> None:
    session = await connect(inbox.port)
    for local, reply in {
        "bounce": Reply(550, "5.1.1"),
        "defer+x": Reply(451, "4.3.0"),
        "greylist": Reply(451, "4.7.1"),
    }.items():
        with pytest.raises(Rejected) as rejected:
            await send(session, local)
        assert rejected.value.reply == reply
    assert await send(session, "greylist") == Reply(250, "2.0.0")
    with pytest.raises(OutcomeLost):
        await send(session, "drop-after-data")
    assert len(list((tmp_path / "inbox" / "new").iterdir())) == 1


async def test_too_many_connections_are_turned_away(inbox: Inbox) -> None:
    first, second = await connect(inbox.port), await connect(inbox.port)
    with pytest.raises(ConnectionLost) as lost:
        await connect(inbox.port)
    assert lost.value.reply.code == 421
    await first.close()
    await second.close()


async def test_it_runs_as_a_process_until_told_to_end(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "TRADEWIND_LISTEN": "127.0.0.1:0",
        "TRADEWIND_INBOX_DIR": str(tmp_path / "inbox"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.standalone.inbox",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = await asyncio.wait_for(process.stderr.readline(), 60) or await process.stdout.readline()
        assert b"server_listening" in said
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
