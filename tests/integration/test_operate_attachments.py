"""Attachments in backups: copied once, put back whole, and only what still belongs to somebody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import grpc
import nats
import pytest

from services.chat.attachments import collector
from services.chat.attachments.jetstream import JetStreamVault
from services.chat.attachments.vault import NoObject, VaultUnavailable
from services.chat.privacy import keys
from services.ledger.backup import BackupUnusable
from services.ledger.restoring import restore
from services.operate import __main__ as program
from services.operate import catalogue
from tests.integration.attachment_world import CHUNK, Sender, picture, some_bytes
from tests.integration.chat_world import TENANT, ChatWorld, chat_world, key_file, refused
from tests.integration.test_chat_attachment_sealed import destroy
from tests.integration.test_chat_erasure import erase, erasing
from tests.integration.test_operate_commands import operate
from tests.servers import NatsServer
from tests.tally import eventually

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
pytestmark = pytest.mark.timeout(120)


class Deployment:
    """Chat on a nats-server and a folder, and the operator's commands on both."""

    def __init__(self, server: NatsServer, folder: Path) -> None:
        self.url, self.folder = server.url, folder
        self.backup = folder / "backups" / "monday"
        self.backup.parent.mkdir()

    async def operate(self, *arguments: str) -> tuple[int, str]:
        """A command; its exit code and what it said."""
        here = {
            "TRADEWIND_NATS_URLS": self.url,
            "TRADEWIND_STORE": "sqlite",
            "TRADEWIND_STORE_FILE": str(self.folder / "chat.db"),
            "TRADEWIND_LOG_PARTITIONS": "2",
            "TRADEWIND_PERSON_KEY_FILE": str(key_file(self.folder)),
        }
        command, *rest = arguments
        return await operate(here, command, "--service", "chat", *rest)

    async def lose_all_but_the_log(self) -> None:
        """Lose the store, and the object store."""
        for path in self.folder.glob("chat.db*"):
            path.unlink()
        client = await nats.connect(self.url)
        await client.jetstream().delete_stream("OBJ_tradewind-attachments")
        await client.close()

    def objects(self) -> Iterable[Path]:
        """The files of all attachments in the backup's folder."""
        return sorted(path for path in (self.backup.parent / "attachments").rglob("*") if path.is_file())


@pytest.fixture
def here(own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    monkeypatch.setattr(program, "restore", partial(restore, quiet=0.0))
    return Deployment(own_nats_server, tmp_path)


async def uploaded(world: ChatWorld, user_id: str, *files: bytes) -> list[str]:
    """Files of somebody, each named by a message."""
    sender = Sender(world, user_id)
    group = (await sender.user.create_group("bob")).conversation_id
    made = [(await sender.upload(group, data)).attachment_id for data in files]
    await sender.send(group, *made)
    return made


def run(here: Deployment) -> AbstractAsyncContextManager[ChatWorld]:
    """Chat as it is there."""
    return chat_world(here.url, here.folder, attachment_sweep=3600.0)


async def test_they_come_back_and_those_of_the_erased_do_not(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [some_bytes(2 * CHUNK + 9), picture(700, 500)]
    async with run(here) as world:
        anns = await uploaded(world, "ann", *files)
        (goes,) = await uploaded(world, "leaving", some_bytes(CHUNK, 9))
        code, said = await here.operate("backup", str(here.backup))
        assert (code, "5 copied" in said) == (0, True), said
        assert all(data not in path.read_bytes() for path in here.objects() for data in files)  # sealed there, too
        late = await uploaded(world, "ann", some_bytes(99, 5))
        code, said = await here.operate("backup", str(here.backup.with_name("tuesday")))
        assert (code, "1 copied" in said, "5 were in the folder" in said) == (0, True, True), said
        await erase(world, world.user("root", "admin"), erasing("leaving"))
    await here.lose_all_but_the_log()

    code, said = await here.operate("restore", str(here.backup.with_name("tuesday")))
    assert (code, "6 restored" in said) == (0, True), said
    code, said = await here.operate("restore", "--merge", str(here.backup.with_name("tuesday")))
    assert (code, "0 restored (0 bytes), 6 were there" in said) == (0, True), said
    async with run(here) as world:

        async def is_repaired() -> bool:
            rows = await world.ledger.rows(keys.TABLE, keys.partition(TENANT, "leaving"), limit=9)
            return bool(rows) and not any(row.value for row in rows)

        await eventually(is_repaired)
        bob, ann = Sender(world, "bob"), Sender(world, "ann")
        assert [await bob.download(each) for each in anns] == files
        assert await ann.download(late[0]) == some_bytes(99, 5)
        assert await ann.download(anns[1], thumbnail=160)
        assert await refused(bob.download(goes)) == NOT_FOUND
        vault = world.attachments.vault
        assert (await vault.described(f"{TENANT}/{goes}")).size  # and a day later:
        monkeypatch.setattr(collector, "DAY_US", 0)
        await world.attachments.collector.sweep()
        with pytest.raises(NoObject):
            await vault.described(f"{TENANT}/{goes}")
        assert await bob.download(anns[0]) == files[0]


async def test_a_backup_that_was_broken_off_goes_on(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    read = JetStreamVault.read
    count = 0

    def cut(vault: JetStreamVault, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        nonlocal count
        count += 1
        if count == 2:
            raise VaultUnavailable("cut")
        return read(vault, name, offset, length)

    async with run(here) as world:
        await uploaded(world, "ann", *(some_bytes(99, seed) for seed in range(3)))
        with monkeypatch.context() as patch:
            patch.setattr(JetStreamVault, "read", cut)
            code, said = await here.operate("backup", str(here.backup))
            assert (code, said.splitlines()[-1]) == (3, "cut")
        assert len(list(here.objects())) == 1
        code, said = await here.operate("backup", str(here.backup))
        assert (code, "2 copied (244 bytes), 1 were in" in said) == (0, True), said
        assert (await here.operate("backup", str(here.backup)))[0] == 3  # it is whole
        without = here.backup.with_name("without")
        assert (await here.operate("backup", "--no-attachments", str(without)))[0] == 0
        assert not catalogue.list_of(without).exists()
    assert list(here.backup.parent.rglob("*.partial")) == []


async def test_what_was_damaged_in_the_folder_is_said_and_not_put_back(here: Deployment) -> None:
    async with run(here) as world:
        broken, cut, lost, whole = await uploaded(world, "ann", *(some_bytes(2 * CHUNK, seed) for seed in range(4)))
        vault = world.attachments.vault
        places = {
            each: catalogue.bytes_of(here.backup, (await vault.described(f"{TENANT}/{each}")).sha256)
            for each in (broken, cut, lost)
        }
        (erased,) = await uploaded(world, "gone", some_bytes(99))
        await destroy(world, "gone")
        assert (await here.operate("backup", str(here.backup)))[0] == 0
        (later,) = await uploaded(world, "ann", some_bytes(99))
        await here.operate("backup", str(here.backup.with_name("tuesday")))
    data = {each: place.read_bytes() for each, place in places.items()}
    places[broken].write_bytes(data[broken][:-1] + bytes((data[broken][-1] ^ 1,)))
    places[cut].write_bytes(data[cut][: CHUNK + 23])
    places[lost].unlink()
    await here.lose_all_but_the_log()
    code, said = await here.operate("restore", str(here.backup))
    assert (
        code,
        "1 restored" in said,
        "of 1 the owner was erased" in said,
        said.count("damaged or missing in the backup"),
    ) == (3, True, True, 4), said
    async with run(here) as world:
        ann = Sender(world, "ann")
        assert await ann.download(whole) == some_bytes(2 * CHUNK, 3)
        assert [await refused(ann.download(each)) for each in (broken, cut, lost)] == [NOT_FOUND] * 3
        for each, place in places.items():
            place.write_bytes(data[each])
        code, said = await here.operate("restore", "--merge", str(here.backup))
        assert (code, "3 restored" in said) == (0, True), said
        assert await ann.download(cut) == some_bytes(2 * CHUNK, 1)
        assert await refused(ann.download(later)) == NOT_FOUND  # it is in the other one
        with pytest.raises(NoObject):
            await world.attachments.vault.described(f"{TENANT}/{erased}")


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data[:40] + b"x" + data[41:]])
async def test_a_list_that_was_cut_or_changed_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "monday"
    writer = catalogue.Writer(file, b"digest")
    writer.finish()
    assert catalogue.check(file, b"digest") == 0
    with pytest.raises(BackupUnusable, match="another"):
        catalogue.check(file, b"other")
    listed = catalogue.list_of(file)
    listed.write_bytes(change(listed.read_bytes()))
    with pytest.raises(BackupUnusable, match="cut or changed"):
        catalogue.check(file, b"digest")
