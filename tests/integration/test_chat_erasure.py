"""Erasing a person leaves nothing of what it said anywhere, and everything else as it was."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

import grpc
import pytest
from tradewind.chat.v1 import (
    chat_pb2,
    device_service_pb2,
    device_service_pb2_grpc,
    privacy_service_pb2,
    privacy_service_pb2_grpc,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.push.v1 import push_gateway_service_pb2

from services.chat.commands import KIND
from services.chat.contents import Contents
from services.chat.kinds import KEPT, KINDS
from services.chat.privacy import keys
from services.chat.privacy.keys import TABLE, PersonKeys, partition
from services.chat.privacy.master import Master
from services.ledger.backup import back_up
from services.ledger.ids import AggregateId
from services.ledger.restoring import restore
from tests.integration.attachment_world import Sender
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world, refused, request_id, watched
from tests.integration.operate_world import operators
from tests.integration.test_chat_privacy import logged, on_disk, read, talk, word
from tests.servers import NatsServer
from tests.tally import eventually


def erasing(user_id: str) -> privacy_service_pb2.ErasePersonRequest:
    """A request to erase somebody."""
    return privacy_service_pb2.ErasePersonRequest(request_id=request_id(), user_id=user_id)


async def erase(
    world: ChatWorld, by: User, request: privacy_service_pb2.ErasePersonRequest
) -> privacy_service_pb2.ErasePersonResponse:
    """Erase a person."""
    stub = privacy_service_pb2_grpc.PrivacyServiceStub(by.channel)
    response: privacy_service_pb2.ErasePersonResponse = await stub.ErasePerson(request, metadata=by.metadata)
    return response


def without_words(messages: Iterable[chat_pb2.Message]) -> list[chat_pb2.Message]:
    """What a list of messages must be once their sender was erased."""
    expected = []
    for message in messages:
        after = chat_pb2.Message()
        after.CopyFrom(message)
        for name in ("text", "attributes", "parts"):
            after.content.ClearField(name)
        after.content.erased = True
        expected.append(after)
    return expected


async def test_the_words_go_and_everything_else_stays(own_nats_server: NatsServer, tmp_path: Path) -> None:
    texts, kept_text = [word() for _ in range(7)], word()
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, bob, admin = world.user("ann"), world.user("bob"), world.user("root", "admin")
        group, versions = await talk(ann, bob, texts)
        answer = bob.message(group, kept_text)
        answer.content.reply_to.append(versions[0])
        answered = (await bob.call("SendMessage", answer)).version
        before = await read(bob, group)
        stream = bob.watch(group)
        await watched(stream, answered)
        (key,) = await world.ledger.rows(TABLE, partition(TENANT, "ann"), limit=9)

        done = await erase(world, admin, erasing("ann"))
        assert done.keys_destroyed == 1

        after = await read(bob, group)
        assert list(after) == list(before)
        anns = [version for version in before if version != answered]  # what bob forwarded are ann's words too
        assert [after[version] for version in anns] == without_words(before[version] for version in anns)
        assert after[answered] == before[answered]
        seen = await watched(bob.watch(group), answered)
        assert [event.version for event in seen] == list(range(1, answered + 1))
        said = [event for event in seen if event.HasField("message") and event.version != answered]
        assert said
        assert all(event.message.erased and not event.message.text for event in said)
        assert seen[answered - 1].message.text == kept_text
        wordings = await bob.call(
            "ListMessageEdits", pb.ListMessageEditsRequest(conversation_id=group, message_version=versions[3])
        )
        assert all(each.content.erased for each in wordings.wordings)
        again = pb.ForwardMessageRequest(
            request_id=request_id(), conversation_id=group, from_conversation_id=group, message_version=versions[0]
        )
        assert (await refused(bob.call("ForwardMessage", again)))[1] == "NO_SUCH_MESSAGE"

        # It is not banned: what it says from now on is said.
        fresh = await ann.send(group, "hello again")
        assert (await read(bob, group))[fresh].content.text == "hello again"
        assert (await watched(stream, 1))[0].message.text == "hello again"
        kept = await logged(world)
        assert [text for text in texts if text.encode() in kept] == []
    await asyncio.to_thread(own_nats_server.stop)
    files = await asyncio.to_thread(on_disk, tmp_path)
    assert b"ann" in files
    assert [text for text in [*texts, kept_text] if text.encode() in files] == []
    assert key.value is not None
    assert key.value not in files  # not even wrapped


async def test_a_repeated_erasure_is_the_same_and_a_later_one_takes_what_was_said_since(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, service = world.user("ann"), world.user("backend", "service")
        group = (await ann.create_group()).conversation_id
        first = await ann.send(group, "one")
        asked = erasing("ann")
        done = await erase(world, service, asked)
        second = await ann.send(group, "two")
        repeated = await erase(world, service, asked)
        assert repeated.erase_time == done.erase_time
        found = await read(ann, group)
        assert (found[first].content.erased, found[second].content.erased) == (True, False)
        await erase(world, service, erasing("ann"))
        assert (await read(ann, group))[second].content.erased
        assert (await erase(world, service, erasing("nobody"))).keys_destroyed == 0


async def test_who_may_erase(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, elsewhere = world.user("ann"), world.user("root", "admin", tenant="other")
        group = (await ann.create_group()).conversation_id
        version = await ann.send(group, "mine")
        assert (await refused(erase(world, ann, erasing("ann"))))[0] == grpc.StatusCode.PERMISSION_DENIED
        assert (await erase(world, elsewhere, erasing("ann"))).keys_destroyed == 0
        assert (await read(ann, group))[version].content.text == "mine"


async def test_where_nothing_is_sealed_nobody_is_erased(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, person_key_file=None) as world:
        admin = world.user("root", "admin")
        found = await refused(erase(world, admin, erasing("ann")))
        assert found == (grpc.StatusCode.FAILED_PRECONDITION, "CONTENTS_NOT_SEALED")


async def test_every_process_hears_of_it(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as one, chat_world(own_nats_server.url, tmp_path) as other:
        ann, bob, admin = one.user("ann"), other.user("bob"), one.user("root", "admin")
        group = (await ann.create_group("bob")).conversation_id
        version = await ann.send(group, "hello")
        stream = bob.watch(group)
        assert (await watched(stream, version))[-1].message.text == "hello"
        await erase(one, admin, erasing("ann"))

        async def is_erased() -> bool:
            return bool((await read(bob, group))[version].content.erased)

        await eventually(is_erased)
        assert (await watched(bob.watch(group), version))[-1].message.erased
        # The other process held an old key of ann's, and seals with a new one from now on.
        again = await other.user("ann").send(group, "once more")
        assert (await read(ann, group))[again].content.text == "once more"


async def test_what_is_kept_elsewhere_goes_too(own_nats_server: NatsServer, tmp_path: Path) -> None:
    said, later, name, token, body = word(), word(), word(), word(), word()
    async with chat_world(own_nats_server.url, tmp_path, search="embedded") as world:
        ann, bob, admin = world.user("ann"), world.user("bob"), world.user("root", "admin")
        group = (await ann.create_group("bob")).conversation_id
        await ann.send(group, said)
        await keep(world, group, later, name, token, body)
        search = search_service_pb2_grpc.SearchServiceStub(bob.channel)

        async def found() -> int:
            asked = search_service_pb2.SearchMessagesRequest(query=said)
            return len((await search.SearchMessages(asked, metadata=bob.metadata)).results)

        async def is_found() -> bool:
            return await found() == 1

        await eventually(is_found)
        done = await erase(world, admin, erasing("ann"))
        counts = {part.name: part.count for part in done.parts}
        assert set(counts) == {"search", "scheduled", "attachments", "devices"}
        assert (counts["scheduled"], counts["attachments"], counts["devices"]) == (1, 1, 1)
        assert await found() == 0
        scheduled = await schedule_service_pb2_grpc.ScheduleServiceStub(ann.channel).ListScheduledMessages(
            schedule_service_pb2.ListScheduledMessagesRequest(), metadata=ann.metadata
        )
        assert not scheduled.scheduled_messages
        again = await erase(world, admin, erasing("ann"))
        # What is left of a file that is gone, its row, is swept later.
        assert not any(part.count for part in again.parts if part.name != "attachments")
    await asyncio.to_thread(own_nats_server.stop)
    files = await asyncio.to_thread(on_disk, tmp_path)
    left = {"said": said, "later": later, "name": name, "token": token, "body": body}
    assert [what for what, text in left.items() if text.encode() in files] == []


async def keep(world: ChatWorld, group: str, later: str, name: str, token: str, body: str) -> None:
    """Have something of ann kept in every place there is."""
    ann = world.user("ann")
    schedules = schedule_service_pb2_grpc.ScheduleServiceStub(ann.channel)
    asked = schedule_service_pb2.ScheduleMessageRequest(request_id=request_id(), conversation_id=group)
    asked.content.text = later
    asked.send_time.GetCurrentTime()
    asked.send_time.seconds += 3600
    await schedules.ScheduleMessage(asked, metadata=ann.metadata)
    device = device_service_pb2.RegisterDeviceRequest(
        device_id="phone", platform=push_gateway_service_pb2.PUSH_PLATFORM_FCM, token=token
    )
    await device_service_pb2_grpc.DeviceServiceStub(ann.channel).RegisterDevice(device, metadata=ann.metadata)
    sender = Sender(world, "ann")
    await sender.send(group, (await sender.upload(group, body.encode(), name=name)).attachment_id)


async def test_a_restored_store_is_readable_and_the_erased_stay_erased(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    """The backup was made before; the log that goes on from it destroys the keys again."""
    first, second, file = tmp_path / "first", tmp_path / "second", tmp_path / "backup"
    first.mkdir()
    async with chat_world(own_nats_server.url, first) as world:
        ann, bob, admin = world.user("ann"), world.user("bob"), world.user("root", "admin")
        group = (await ann.create_group("bob")).conversation_id
        anns, bobs = await ann.send(group, "mine"), await bob.send(group, "and mine")
        await bob.call("MarkMessages", pb.MarkMessagesRequest(conversation_id=group, read_version=anns))
        made = await back_up(world.archive, "chat", [], file, kept=KEPT)
        assert made.trailer.rows >= 4  # two keys, and how far bob has read, and was given
        await erase(world, admin, erasing("ann"))
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("chat.db*"))
    async with operators(own_nats_server.url, second / "chat.db", "chat") as (lives, archive, _):
        await restore(archive, lives, "chat", KINDS, [file], lambda _: None, quiet=0.0)
    async with chat_world(own_nats_server.url, second) as world:
        bob = world.user("bob")

        async def is_repaired() -> bool:
            return not any(row.value for row in await world.ledger.rows(TABLE, partition(TENANT, "ann"), limit=9))

        await eventually(is_repaired, timeout=60)
        found = await read(bob, group)
        assert (found[anns].content.erased, found[bobs].content.text) == (True, "and mine")
        unread = await bob.call("GetUnread", pb.GetUnreadRequest(conversation_id=group))
        assert unread.unread.read_version == anns


async def test_who_missed_the_word_finds_it_in_the_store(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as one:
        ann, admin = one.user("ann"), one.user("root", "admin")
        group = (await ann.create_group()).conversation_id
        version = await ann.send(group, "hello")
        deaf = PersonKeys(one.ledger, Master.from_file(tmp_path / "persons.key"))
        contents = Contents(deaf)
        where = AggregateId(TENANT, KIND, group)
        payloads = [event.payload for event in await one.ledger.history(where, after=version - 1, limit=1)]

        async def shown() -> chat_pb2.MessageContent:
            (event,) = await contents.events(TENANT, payloads, where)
            return event.message

        assert await deaf.look() == []
        assert (await shown()).text == "hello"
        await erase(one, admin, erasing("ann"))
        assert (await shown()).text == "hello"  # out of its memory, for a while
        assert await deaf.look() == [(TENANT, "ann")]
        contents.erased(TENANT, "ann")
        assert (await shown()).erased
        assert await deaf.look() == []
        # And who cannot look does not trust its memory for longer than that.
        again = await ann.send(group, "once more")
        payloads[:] = [event.payload for event in await one.ledger.history(where, after=again - 1, limit=1)]
        assert (await shown()).text == "once more"
        await erase(one, admin, erasing("ann"))
        monkeypatch.setattr(keys, "TRUSTED_S", 0.2)

        async def is_over() -> bool:
            return (await shown()).erased

        await eventually(is_over)
