"""Attachments: up in chunks, checked, sent, and down again; through gRPC, on a real log, store and object store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest_asyncio
from tradewind.chat.v1 import attachment_pb2

from tests.integration.attachment_world import CHUNK, Sender, sha256, some_bytes
from tests.integration.chat_world import ChatWorld, chat_world, refused
from tests.servers import NatsServer

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
NO_SUCH = (grpc.StatusCode.FAILED_PRECONDITION, "NO_SUCH_ATTACHMENT")


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


async def test_a_file_goes_up_is_sent_and_comes_down(world: ChatWorld) -> None:
    ann, bob = Sender(world, "ann"), Sender(world, "bob")
    group = (await ann.user.create_group("bob")).conversation_id
    data = some_bytes(3 * CHUNK + 1000)
    attachment_id = await ann.begin(group, data, sha256=sha256(data), name="blob.bin")
    assert await ann.fill(attachment_id, data, piece=100_000) == [CHUNK, 2 * CHUNK, 3 * CHUNK, len(data)]
    made = await ann.complete(attachment_id)
    assert made.state == attachment_pb2.ATTACHMENT_STATE_COMPLETE
    assert (made.sha256, made.media_type, made.name) == (sha256(data), "application/octet-stream", "blob.bin")
    assert await refused(bob.download(attachment_id)) == NOT_FOUND

    await ann.send(group, attachment_id)
    assert await bob.download(attachment_id) == data
    assert await bob.download(attachment_id, offset=CHUNK - 3, length=10) == data[CHUNK - 3 : CHUNK + 7]
