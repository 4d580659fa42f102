"""The operator's commands as an operator gives them, on a service's process and on a standalone's folder."""

import asyncio
import io
import os
import re
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nats
import pytest
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.ledger.backup import back_up
from services.ledger.engine import NoTracer
from services.ledger.ledger import Ledger
from services.ledger.lives import JetStreamLives
from services.ledger.log import LogSettings
from services.ledger.restoring import restore
from services.ledger.sqlite import SqliteArchive
from services.ledger.verifying import Report, verify
from services.operate.__main__ import perform
from services.operate.known import SERVICES
from services.standalone import broker
from services.standalone.home import Home
from services.standalone.keys import Keys
from services.standalone.ports import Ports
from tests.integration.ledger_world import ROOT, add, fresh_service, reckon, whole_history
from tests.integration.test_chat_process import ChatProcess
from tests.keyspaces import Keyspaces
from tests.servers import NatsServer
from tests.tally import TALLY, open_ledger, tally


async def operate(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Performs a command; its exit code and what it said."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        for name, value in environment.items():
            patch.setenv(name, value)
        return await perform(list(arguments)), said.getvalue()


async def test_the_commands_are_a_program() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.operate", "restore", "--service", "chat", cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "clients" / "python")))},
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert (process.returncode, said) == (3, b"name a backup, or say --from-log\n")


async def said_in_chat(process: ChatProcess, *texts: str, name: str = "") -> tuple[str, list[str]]:
    """Says something in a conversation; all that was ever said there."""
    async with process.user("ada") as ada:
        name = name or (await ada.create_group("bob")).conversation_id
        for text in texts:
            await ada.send(name, text)
        page = pb.ListMessagesRequest(conversation_id=name, oldest_first=True, page_size=500)
        return name, [message.content.text for message in (await ada.call("ListMessages", page)).messages]


async def test_a_service_is_backed_up_loses_its_store_and_its_log_and_goes_on(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEWIND_STORE", "sqlite")
    server, store, file = own_nats_server, tmp_path / "chat.db", str(tmp_path / "chat.backup")
    process = ChatProcess(server.url, tmp_path)
    here = {"TRADEWIND_NATS_URLS": server.url, "TRADEWIND_STORE_FILE": str(store)}
    await process.start()
    name, _ = await said_in_chat(process, "one", "two")
    code, said = await operate(here, "status", "--service", "chat")
    assert (code, "the log is whole" in said) == (0, True), said
    assert "chat-orders" not in said  # that consumer is on Order's log
    code, said = await operate(here, "backup", "--service", "chat", file)
    assert (code, "3 entries of 1 aggregates, 0 rows" in said) == (0, True), said
    assert (await operate(here, "backup", "--service", "chat", file))[0] == 3
    assert (await operate(here, "recover-log", "--service", "chat"))[0] == 3
    await said_in_chat(process, "three", name=name)
    await process.end(signal.SIGTERM)

    for path in tmp_path.glob("chat.db*"):
        path.unlink()
    code, said = await operate(here, "status", "--service", "chat")
    assert (code, "run restore" in said) == (1, True), said
    code, said = await operate(here, "restore", "--service", "chat", file)
    assert code == 0, said
    await process.start()
    assert (await said_in_chat(process, "four", name=name))[1] == ["one", "two", "three", "four"]
    await process.end(signal.SIGKILL)

    server.kill()
    server.wipe()
    await asyncio.to_thread(server.start)
    code, said = await operate(here, "status", "--service", "chat")
    assert (code, "run recover-log" in said) == (1, True), said
    code, said = await operate(here, "recover-log", "--service", "chat")
    assert code == 0, said
    await process.start()
    assert (await said_in_chat(process, "five", name=name))[1] == ["one", "two", "three", "four", "five"]
    await process.end(signal.SIGTERM)
    code, said = await operate(here, "verify", "--service", "chat")
    assert (code, bool(re.search(r"^1 aggregates, \d+ entries, 6 events", said))) == (0, True), said


async def test_a_standalone_is_restored_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log server runs only for as long as the command does."""
    monkeypatch.setenv("TRADEWIND_STORE", "sqlite")
    home, ports = Home(tmp_path / "home"), Ports(_free_range())
    lock = home.open()
    keys = Keys(home.keys)
    await asyncio.to_thread(keys.ensure)
    here = {"TRADEWIND_HOME": str(home.root), "TRADEWIND_PORT": str(ports.first)}
    configuration = broker.write_configuration(home, keys, ports)
    log = await asyncio.create_subprocess_exec(
        broker.program(), "--config", str(configuration), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            client = await nats.connect(broker.url(keys, ports), max_reconnect_attempts=-1, reconnect_time_wait=0.1)
        code, said = await operate(here, "status")  # it is in use: its own log server is asked
        assert (code, said.count("never begun")) == (1, 3), said
        archive = SqliteArchive.open(home.archive / "chat.db")
        chat = await Ledger.open(client, archive, NoTracer(), LogSettings("chat"), SERVICES["chat"].kinds)
        await chat.close()
        await archive.close()
        await client.close()
    finally:
        log.terminate()
        await log.wait()
        lock.release()
    code, said = await operate(here, "status", "--service", "mail")
    assert (code, "mail: the log is never begun" in said) == (1, True), said
    code, said = await operate(here, "restore", "--service", "mail", "--from-log")
    assert (code, "nothing to restore from" in said) == (3, True), said
    for path in home.archive.glob("chat.db*"):
        path.unlink()
    code, said = await operate(here, "restore", "--service", "chat", "--from-log")
    assert (code, str(chat.epoch) in said) == (0, True), said
    code, said = await operate(here, "status", "--service", "chat")
    assert (code, "chat: the log is whole" in said) == (0, True), said


def _free_range() -> int:
    return next(first for first in range(21_000, 30_000, 40) if _all_free(first))


def _all_free(first: int) -> bool:
    try:
        Ports(first).require_free()
    except Exception:  # noqa: BLE001 - taken, in whichever way
        return False
    return True


async def test_a_backup_of_one_kind_of_store_is_restored_into_another(
    nats_server: NatsServer, keyspaces: Keyspaces, tmp_path: Path
) -> None:
    service, tills = fresh_service(), [tally(f"till {number}") for number in range(4)]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        for till in tills:
            for amount in range(1, 40):
                await add(ledger, till, amount)
        histories = [await whole_history(ledger, till) for till in tills]
        await back_up(ledger.engine.archive, service, [], tmp_path / "1")
        await add(ledger, tills[0], 5)
    client = await nats.connect(nats_server.url)
    settings = LogSettings(service, partitions=2)
    archive = await keyspaces.open(tmp_path / "b")
    try:
        lives = JetStreamLives(client, settings)
        await restore(archive, lives, service, [TALLY], [tmp_path / "1"], lambda _: None, quiet=0.0)
        again = await Ledger.open(client, archive, NoTracer(), settings, [TALLY])
        try:
            assert [await whole_history(again, till) for till in tills[1:]] == histories[1:]
            assert await reckon(again, tills[0]) == sum(range(1, 40)) + 5
            assert await add(again, tills[1]) == 40
            report = Report()
            assert await verify(archive, [TALLY], report) == []
            assert (report.aggregates, report.events) == (4, 4 * 39 + 2)
            made = await back_up(archive, service, [], tmp_path / "2")
            assert made.trailer.entries == report.entries
        finally:
            await again.close()
    finally:
        await archive.close()
        await client.close()
        keyspaces.give_back()


def test_every_role_of_a_service_is_known() -> None:
    """Whoever consumes, and keeps its place in the store, is in the backup."""
    text = {
        name: "".join(path.read_text(encoding="utf-8") for path in (ROOT / "services" / name).rglob("*.py"))
        for name in SERVICES
    }
    assert {name: len(known.roles) for name, known in SERVICES.items()} == {
        name: len(re.findall(r"\.consume\(role=", code)) for name, code in text.items()
    }
