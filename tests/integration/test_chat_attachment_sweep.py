"""What nobody needs is deleted, and never what a message names; over several processes, deaths and races."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_pb2, schedule_service_pb2, schedule_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as chat

from services.chat import commands
from services.chat.attachments import collector, domain, rows
from services.chat.attachments.collector import Collector
from services.chat.attachments.removing import erase_person, named
from services.chat.attachments.vault import NoObject
from services.chat.kinds import KINDS
from services.ledger.verifying import Report, verify
from tests.integration.attachment_world import CHUNK, Sender, attachment_world, part, picture, sha256, some_bytes
from tests.integration.chat_world import TENANT, ChatWorld, refused, request_id

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatWorld]:
    async with attachment_world(tmp_path_factory.mktemp("sweep")) as running:
        yield running


async def state_of(world: ChatWorld, attachment_id: str) -> domain.Attachment:
    state: domain.Attachment = (await world.ledger.read(rows.aggregate_of(TENANT, attachment_id))).state
    return state


async def sweep(world: ChatWorld, *, expired: bool = False, waited: bool = False, processes: int = 3) -> None:
    """Sweep as several processes would, at once; as if it were a day later, or an hour."""
    keep, grace = world.settings.attachment_keep_unsent, world.settings.attachment_grace
    late = {"attachment_keep_unsent": 0.0 if expired else keep, "attachment_grace": 0.0 if waited else grace}
    settings = world.settings.model_copy(update=late)
    others = [Collector(world.ledger, world.attachments.vault, settings) for _ in range(processes)]
    await asyncio.gather(*(each.sweep() for each in others))


async def holds(world: ChatWorld, attachment_id: str) -> bool:
    try:
        return (await world.attachments.vault.described(f"{TENANT}/{attachment_id}")).size > 0
    except NoObject:
        return False


async def kept_name(world: ChatWorld, user_id: str, attachment_id: str) -> bool:
    """Whether anything is kept of what somebody called a file."""
    row = await world.ledger.row(rows.NAMES, rows.owner_partition(TENANT, user_id), attachment_id)
    return row is not None and bool(row.value)


async def delete(sender: Sender, conversation: str, version: int) -> None:
    request = chat.DeleteMessageRequest(request_id=request_id(), conversation_id=conversation, message_version=version)
    await sender.user.call("DeleteMessage", request)


async def test_what_was_never_sent_goes_and_what_was_sent_stays(
    world: ChatWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    sent = (await ann.upload(group, some_bytes(CHUNK + 5))).attachment_id
    unsent = (await ann.upload(group, picture(300, 300))).attachment_id
    broken = await ann.begin(group, 3 * CHUNK)
    await ann.fill(broken, some_bytes(2 * CHUNK))
    await ann.send(group, sent)
    await sweep(world)
    assert await ann.held(broken) == 2 * CHUNK
    await sweep(world, expired=True)
    assert (await state_of(world, sent)).care is domain.Care.KEPT
    assert {(await state_of(world, each)).care for each in (unsent, broken)} == {domain.Care.CONDEMNED}
    await sweep(world)
    assert await holds(world, unsent)
    await sweep(world, waited=True)
    for gone in (unsent, broken):
        assert await refused(ann.held(gone)) == NOT_FOUND
        assert not await holds(world, gone)
        assert (await world.attachments.vault.held(f"{TENANT}/{gone}")).size == 0
    assert await ann.download(sent) == some_bytes(CHUNK + 5)
    monkeypatch.setattr(collector, "DAY_US", 0)
    await sweep(world, waited=True)
    assert (await state_of(world, unsent)).state is domain.State.PURGED
    assert not await kept_name(world, "ann", unsent)
    assert (await state_of(world, sent)).care is domain.Care.KEPT


async def test_it_goes_with_the_last_message_that_names_it(world: ChatWorld) -> None:
    ann, bob = Sender(world, "ann"), Sender(world, "bob")
    group = (await ann.user.create_group("bob")).conversation_id
    other = (await bob.user.create_group("cy")).conversation_id
    made = (await ann.upload(group, b"words to forward")).attachment_id
    first = await ann.send(group, made)
    forward = chat.ForwardMessageRequest(
        request_id=request_id(), from_conversation_id=group, message_version=first, conversation_id=other
    )
    second = (await bob.user.call("ForwardMessage", forward)).version
    await sweep(world, expired=True)
    await delete(ann, group, first)
    before = (await state_of(world, made)).version
    await sweep(world)
    assert (await state_of(world, made)).care is domain.Care.KEPT
    assert (await state_of(world, made)).version == before + 2
    assert await refused(Sender(world, "nobody").download(made)) == NOT_FOUND
    await delete(bob, other, second)
    assert await refused(bob.download(made)) == NOT_FOUND
    await sweep(world)
    assert (await state_of(world, made)).care is domain.Care.CONDEMNED
    for slot in range(rows.SLOTS):
        assert [each async for each in rows.released(world.ledger, slot)] == []
    await sweep(world)
    assert await holds(world, made)
    await sweep(world, waited=True)
    assert not await holds(world, made)
    assert (await refused(ann.send(group, made)))[1] == "NO_SUCH_ATTACHMENT"


async def test_who_sends_what_is_condemned_spares_it(world: ChatWorld) -> None:
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    made = (await ann.upload(group, b"at the last moment")).attachment_id
    await sweep(world, expired=True)
    assert (await state_of(world, made)).care is domain.Care.CONDEMNED
    seen = await state_of(world, made)
    await ann.send(group, made)
    # Whoever looked before the message was there decides by what it saw, and too late.
    aggregate = rows.aggregate_of(TENANT, made)
    stale = domain.Delete(commands.now_us(), seen.version)
    assert (await world.ledger.execute(aggregate, stale, named(aggregate, seen, "delete"))).payloads == ()
    await sweep(world, expired=True, waited=True)
    assert (await state_of(world, made)).care is domain.Care.KEPT
    assert await ann.download(made) == b"at the last moment"


async def test_what_a_scheduled_message_names_waits_for_it(world: ChatWorld) -> None:
    ann = Sender(world, "planner")
    group = (await ann.user.create_group()).conversation_id
    made = (await ann.upload(group, b"for tomorrow")).attachment_id
    stub = schedule_service_pb2_grpc.ScheduleServiceStub(ann.channel)
    asked = schedule_service_pb2.ScheduleMessageRequest(
        request_id=request_id(), conversation_id=group, content=chat_pb2.MessageContent(parts=[part(made)])
    )
    asked.send_time.FromSeconds(int(time.time()) + 3600)
    scheduled = (await stub.ScheduleMessage(asked, metadata=ann.metadata)).scheduled_message
    for _ in range(2):
        await sweep(world, expired=True, waited=True)
    assert (await state_of(world, made)).care is domain.Care.FRESH
    cancel = schedule_service_pb2.CancelScheduledMessageRequest(
        request_id=request_id(), scheduled_id=scheduled.scheduled_id
    )
    await stub.CancelScheduledMessage(cancel, metadata=ann.metadata)
    await sweep(world, expired=True)
    assert (await state_of(world, made)).care is domain.Care.CONDEMNED


async def test_all_of_a_person_goes(world: ChatWorld) -> None:
    ann, bob = Sender(world, "erased"), Sender(world, "bob")
    group = (await ann.user.create_group("bob")).conversation_id
    made = (await ann.upload(group, picture(900, 900), name="me.png")).attachment_id
    kept = (await bob.upload(group, b"bob's own")).attachment_id
    await ann.send(group, made)
    begun = await ann.begin(group, 5 * CHUNK)
    await ann.fill(begun, some_bytes(CHUNK))
    vault = world.attachments.vault
    for _ in range(2):
        assert await erase_person(world.ledger, vault, TENANT, "erased") == 2
        for gone in (made, begun):
            assert await refused(bob.download(gone)) == NOT_FOUND
            assert not await holds(world, gone)
            assert (await vault.held(f"{TENANT}/{gone}/160")).size == 0
            assert not await kept_name(world, "erased", gone)
    assert await bob.download(kept) == b"bob's own"


async def test_an_upload_outlives_the_process(tmp_path: Path) -> None:
    data = some_bytes(4 * CHUNK + 3)
    async with attachment_world(tmp_path) as before:
        ann = Sender(before, "ann")
        group = (await ann.user.create_group("bob")).conversation_id
        attachment_id = await ann.begin(group, data, sha256=sha256(data))
        await ann.fill(attachment_id, data[: 2 * CHUNK + 9])
    async with attachment_world(tmp_path) as after:
        ann = Sender(after, "ann")
        assert await ann.held(attachment_id) == 2 * CHUNK
        await ann.fill(attachment_id, data, 2 * CHUNK)
        made = await ann.complete(attachment_id)
        await ann.send(group, made.attachment_id)
    async with attachment_world(tmp_path) as again:
        assert await Sender(again, "bob").download(attachment_id) == data


async def test_it_is_looked_for_again_and_again(tmp_path: Path) -> None:
    soon = {"attachment_sweep": 0.05, "attachment_keep_unsent": 2.0, "attachment_grace": 0.1}
    async with attachment_world(tmp_path, **soon) as world:
        ann = Sender(world, "ann")
        group = (await ann.user.create_group()).conversation_id
        unsent = await ann.begin(group, CHUNK)
        await ann.fill(unsent, some_bytes(CHUNK))
        async with asyncio.timeout(60):
            while (await state_of(world, unsent)).state is not domain.State.DELETED:
                await asyncio.sleep(0.02)
            while (await world.attachments.vault.held(f"{TENANT}/{unsent}")).size:
                await asyncio.sleep(0.02)


async def test_a_store_that_was_swept_verifies(world: ChatWorld) -> None:
    """Rows that whoever dealt with them took away are not missed."""
    ann = Sender(world, "ann")
    group = (await ann.user.create_group()).conversation_id
    version = await ann.user.send(group, "said, and deleted")
    await delete(ann, group, version)
    await sweep(world)
    assert await verify(world.ledger.engine.archive, KINDS, Report()) == []
