"""What every vault does; adding an adapter is adding a line to ``vault``."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import nats
import pytest
import pytest_asyncio

from services.chat.attachments.jetstream import JetStreamVault
from services.chat.attachments.vault import (
    CHUNK_BYTES,
    Described,
    Held,
    NoObject,
    Overtaken,
    Vault,
    VaultUnavailable,
    full,
    put,
)
from tests.servers import NatsServer

DATA = bytes(range(256)) * (CHUNK_BYTES // 128) + b"the end"


@pytest_asyncio.fixture
async def vault(nats_server: NatsServer) -> AsyncIterator[Vault]:
    made = JetStreamVault(await nats.connect(nats_server.url), f"test-{uuid.uuid4().hex}")
    yield made
    await made.close()


async def nothing(_data: bytes) -> None:
    return


async def filled(vault: Vault, name: str, data: bytes) -> Held:
    held = await vault.held(name)
    for at in range(held.size, len(data), CHUNK_BYTES):
        held = await vault.append(name, held, data[at : at + CHUNK_BYTES])
    return held


async def read(vault: Vault, name: str, offset: int = 0, length: int = 1 << 40) -> bytes:
    return b"".join([piece async for piece in vault.read(name, offset, length)])


async def test_what_is_appended_is_held_and_finished_is_read(vault: Vault) -> None:
    assert await vault.held("a/b") == Held(0)
    assert (await filled(vault, "a/b", DATA)).size == len(DATA)
    assert (await vault.held("a/b")).size == len(DATA)
    with pytest.raises(NoObject):
        await read(vault, "a/b")
    seen: list[bytes] = []

    async def look(data: bytes) -> None:
        seen.append(data)

    inspected = await vault.inspect("a/b", look)
    assert b"".join(seen) == DATA
    assert max(map(len, seen)) <= CHUNK_BYTES
    await vault.finish("a/b", inspected)
    await vault.finish("a/b", inspected)
    assert (await vault.described("a/b")).size == len(DATA)
    assert await read(vault, "a/b") == DATA


@pytest.mark.parametrize("offset", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(DATA) - 1, len(DATA)])
async def test_reading_begins_and_ends_anywhere(vault: Vault, offset: int) -> None:
    await put(vault, "x", DATA)
    for length in (0, 1, CHUNK_BYTES, CHUNK_BYTES + 2, len(DATA)):
        assert await read(vault, "x", offset, length) == DATA[offset : offset + length]
    with pytest.raises(ValueError, match="beyond"):
        await read(vault, "x", len(DATA) + 1, 1)


async def test_who_is_overtaken_writes_nothing(vault: Vault) -> None:
    begun = await vault.held("x")
    first = await vault.append("x", begun, DATA[:CHUNK_BYTES])
    with pytest.raises(Overtaken):
        await vault.append("x", begun, b"other" * 10)
    last = await vault.append("x", first, b"short")
    with pytest.raises(Overtaken):  # nothing stands behind a chunk that is not full
        await vault.append("x", last, b"more")
    assert (await vault.held("x")).size == CHUNK_BYTES + 5
    assert (await vault.inspect("x", nothing)).size == CHUNK_BYTES + 5


async def test_objects_do_not_know_each_other(vault: Vault) -> None:
    for name in ("a", "a/160", "a/b", "ä ö*>.", "A"):
        await put(vault, name, name.encode() * 3)
    await vault.remove("a")
    await vault.remove("a")
    await vault.remove("never")
    with pytest.raises(NoObject):
        await vault.described("a")
    assert await vault.held("a") == Held(0)
    for name in ("a/160", "a/b", "ä ö*>.", "A"):
        assert await read(vault, name) == name.encode() * 3
    await put(vault, "a", b"anew")
    assert await read(vault, "a") == b"anew"


async def test_a_note_stays_with_its_object_and_its_chunks_are_longer(vault: Vault) -> None:
    length = full(b"note")
    data = (DATA + DATA)[: length + 9]
    held = await vault.append("x", replace(await vault.held("x"), note=b"note"), data[:length])
    assert await vault.held("x") == held
    assert (held.size, held.note) == (length, b"note")
    await vault.append("x", held, data[length:])
    assert (await vault.held("x")).size == len(data)
    await vault.finish("x", await vault.inspect("x", nothing))
    await put(vault, "plain", DATA)
    assert await vault.described("x") == Described("x", len(data), hashlib.sha256(data).digest(), b"note")
    assert [piece async for piece in vault.read("x", length - 1, 5)] == [
        data[length - 1 : length],
        data[length : length + 4],
    ]
    assert [(each.name, each.note) async for each in vault.every()] == [("x", b"note"), ("plain", b"")]


async def test_any_client_of_the_object_store_reads_it(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    bucket = f"test-{uuid.uuid4().hex}"
    vault = JetStreamVault(client, bucket)
    await put(vault, "acme/0190", DATA)
    other = await client.jetstream().object_store(bucket)
    found = await other.get("acme/0190")  # it compares the digest
    assert found.data == DATA
    assert [each.name for each in await other.list()] == ["acme/0190"]
    await vault.close()


async def test_a_full_or_absent_store_says_so(own_nats_server: NatsServer) -> None:
    client = await nats.connect(own_nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    vault = JetStreamVault(client, "small", max_bytes=2 * CHUNK_BYTES)
    with pytest.raises(VaultUnavailable):
        await filled(vault, "x", DATA + DATA)
    assert 0 < (await vault.held("x")).size < len(DATA + DATA)
    own_nats_server.kill()
    vault._js._timeout = 0.3
    with pytest.raises(VaultUnavailable):
        await vault.held("x")
    own_nats_server.start()
    vault._js._timeout = 10.0
    assert (await vault.held("x")).size > 0
    await vault.close()
