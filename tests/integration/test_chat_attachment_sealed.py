"""Files lie sealed in the object store: read in parts as before, gone with the person's key, and those from before still there."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio
from PIL import Image
from tradewind.chat.v1 import attachment_service_pb2 as pb

from services.chat.attachments.jetstream import JetStreamVault
from services.chat.attachments.vault import Described, NoObject, put
from services.chat.privacy import keys, upkeep
from services.chat.whispers import Whispers
from services.ledger.archive import Row
from tests.integration.attachment_world import CHUNK, Sender, attachment_world, picture, sha256, some_bytes
from tests.integration.chat_world import TENANT, ChatWorld, refused
from tests.integration.test_chat_attachment_links import here
from tests.integration.test_chat_privacy import on_disk, word
from tests.tally import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatWorld]:
    async with attachment_world(tmp_path_factory.mktemp("sealed")) as running:
        yield running


async def held(world: ChatWorld, name: str) -> tuple[Described, bytes]:
    """An object as the store has it."""
    described = await world.attachments.vault.described(name)
    return described, b"".join([each async for each in world.attachments.vault.read(name, 0, described.size)])


async def destroy(world: ChatWorld, user_id: str) -> None:
    """Destroy a person's keys, and nothing else of it; returns once the process heard of it."""
    where = keys.partition(TENANT, user_id)
    rows = await world.ledger.rows(keys.TABLE, where, limit=9)
    await world.ledger.put_rows([Row(keys.TABLE, where, row.key, b"", row.seq + 1) for row in rows])
    await upkeep.tell(Whispers(world.client), TENANT, user_id)
    held_keys = world.attachments.files.keys
    assert held_keys is not None

    async def heard() -> bool:
        return held_keys.current((TENANT, user_id)) is None

    await eventually(heard)


async def test_nothing_of_a_file_is_readable_in_the_store(tmp_path: Path) -> None:
    mark, called = b"what nobody but us may read", word()
    data = mark + some_bytes(2 * CHUNK) + mark
    async with attachment_world(tmp_path) as world:
        ann = Sender(world, "ann")
        group = (await ann.user.create_group()).conversation_id
        made = await ann.upload(group, data, name=called)
        assert made.name == called
        pictured = await ann.upload(group, picture(700, 500))
        assert (made.sha256, made.size_bytes) == (sha256(data), len(data))
        assert await ann.download(made.attachment_id) == data
        small = await ann.download(pictured.attachment_id, thumbnail=160)
        assert Image.open(io.BytesIO(small)).size == (160, 114)
        for name in (pictured.attachment_id, f"{pictured.attachment_id}/160"):
            described, stored = await held(world, f"{TENANT}/{name}")
            assert described.note
            assert described.sha256 == sha256(stored)
            with pytest.raises(OSError, match="cannot identify"):
                Image.open(io.BytesIO(stored))
    files = await asyncio.to_thread(on_disk, tmp_path)
    assert made.attachment_id.encode() in files
    assert called.encode() not in files
    assert mark not in files
    assert small not in files


async def test_a_part_is_read_with_the_chunks_it_needs(world: ChatWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    chunk = JetStreamVault._chunk

    async def counted(vault: JetStreamVault, seq: int) -> bytes:
        read.append(seq)
        return await chunk(vault, seq)

    monkeypatch.setattr(JetStreamVault, "_chunk", counted)
    ann, data = Sender(world, "ann"), some_bytes(5 * CHUNK + 17)
    group = (await ann.user.create_group()).conversation_id
    made = await ann.upload(group, data)
    uri = here(world, await ann.link(made.attachment_id))
    parts = {"0-0": 1, f"{CHUNK - 1}-{CHUNK}": 2, f"{3 * CHUNK}-{4 * CHUNK - 1}": 1, "-17": 1, "-18": 2}
    async with aiohttp.ClientSession() as http:
        for part, chunks in parts.items():
            read.clear()
            async with http.get(uri, headers={"Range": f"bytes={part}"}) as got:
                first, _, last = part.partition("-")
                wanted = data[int(first) : int(last) + 1] if first else data[-int(last) :]
                assert await got.read() == wanted
                assert (got.status, got.headers["ETag"]) == (206, f'"{sha256(data).hex()}"')
            assert len(read) == chunks, part


async def test_what_was_uploaded_before_anything_was_sealed_stays_readable(tmp_path: Path) -> None:
    data = some_bytes(2 * CHUNK + 5)
    async with attachment_world(tmp_path, person_key_file=None) as world:
        ann = Sender(world, "ann")
        group = (await ann.user.create_group()).conversation_id
        made = (await ann.upload(group, data)).attachment_id
        half = await ann.begin(group, data)
        await ann.fill(half, data[:CHUNK])
        assert (await held(world, f"{TENANT}/{made}"))[1] == data
    async with attachment_world(tmp_path) as world:
        ann = Sender(world, "ann")
        assert await ann.download(made, offset=CHUNK - 1) == data[CHUNK - 1 :]
        assert (
            await ann.call("GetAttachment", pb.GetAttachmentRequest(attachment_id=made))
        ).attachment.name == "a file"
        await ann.fill(half, data, offset=CHUNK)  # what was begun so goes on so
        await ann.complete(half)
        assert await ann.download(half) == data
        fresh = (await ann.upload(group, data)).attachment_id
        assert (await held(world, f"{TENANT}/{fresh}"))[1] != data
    async with attachment_world(tmp_path, person_key_file=None) as world:
        ann = Sender(world, "ann")
        assert await ann.download(made) == data
        assert (await refused(ann.download(fresh)))[1] == "STORE_UNAVAILABLE"


async def test_without_the_key_the_bytes_are_unreadable_at_once(world: ChatWorld) -> None:
    ann, bob = Sender(world, "gone"), Sender(world, "bob")
    group = (await ann.user.create_group("bob")).conversation_id
    data = some_bytes(8 * CHUNK)
    made = (await ann.upload(group, data)).attachment_id
    half = await ann.begin(group, data)
    await ann.fill(half, data[: 2 * CHUNK])
    await ann.send(group, made)
    assert await bob.download(made) == data
    uri = here(world, await bob.link(made))

    await destroy(world, "gone")

    assert await refused(bob.download(made)) == NOT_FOUND
    async with aiohttp.ClientSession() as http, http.get(uri) as got, http.head(uri) as head:
        assert (got.status, head.status) == (404, 404)
    assert await refused(ann.fill(half, data, offset=2 * CHUNK)) == NOT_FOUND
    assert (await world.attachments.vault.described(f"{TENANT}/{made}")).size > len(data)  # nobody deleted it


async def test_a_reader_is_cut_off_in_the_middle(world: ChatWorld) -> None:
    ann = Sender(world, "leaving")
    group = (await ann.user.create_group()).conversation_id
    made = (await ann.upload(group, some_bytes(4 * CHUNK))).attachment_id
    files = world.attachments.files
    reading = files.read(f"{TENANT}/{made}", (TENANT, "leaving"), 0, 4 * CHUNK, is_sealed=True)
    assert len(await anext(reading)) == CHUNK
    await destroy(world, "leaving")
    with pytest.raises(NoObject):
        [each async for each in reading]


async def test_what_was_put_in_the_place_of_a_sealed_file_is_not_given_out(world: ChatWorld) -> None:
    ann, data = Sender(world, "ann"), some_bytes(CHUNK + 5)
    group = (await ann.user.create_group()).conversation_id
    one, two = [(await ann.upload(group, data)).attachment_id for _ in range(2)]
    vault = world.attachments.vault
    described, stored = await held(world, f"{TENANT}/{two}")
    for forged, note in ((data, b""), (stored, described.note)):
        await put(vault, f"{TENANT}/{one}", forged, note)
        assert await refused(ann.download(one)) == NOT_FOUND
    assert await ann.download(two) == data
