"""What people say is in log and store only as nobody can read it, and everybody who may reads it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat.commands import KIND
from services.chat.contents import Contents
from services.chat.privacy.keys import PersonKeys
from services.chat.privacy.master import Master
from services.ledger.errors import StoreUnavailable
from services.ledger.ids import AggregateId
from services.ledger.log import stream_name
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world, key_file, refused, request_id, watched
from tests.servers import NatsServer


def word() -> str:
    """Something that occurs nowhere else."""
    return f"palimpsest-{uuid.uuid4().hex}"


async def logged(world: ChatWorld) -> bytes:
    """All messages of the log as the log's server holds them."""
    stream = world.ledger.settings
    name = stream_name(stream.service, world.ledger.epoch)
    js = world.client.jetstream()
    state = (await js.stream_info(name)).state
    found = []
    for seq in range(state.first_seq, state.last_seq + 1):
        try:
            found.append((await js.get_msg(name, seq)).data or b"")
        except NotFoundError:
            continue
    return b"".join(found)


def on_disk(folder: Path) -> bytes:
    """All bytes of all files under a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def talk(ann: User, bob: User, texts: Sequence[str]) -> tuple[str, list[int]]:
    """A group in which one says texts in every way there is; gives it, and the versions of the messages."""
    group = (await ann.create_group(bob.id)).conversation_id
    plain, quick, first, second, forwarded, attribute, card = texts
    versions = [await ann.send(group, plain)]
    session = ann.converse()
    said = [ann.message(group, quick), ann.message(group, quick)]
    await session.write(*said, subscribe={group: 0})
    await session.until(lambda it: len(it.results) == 2 and len(it.versions(group)) >= 4)
    await session.call.done_writing()
    versions += [session.results[each.request_id].version for each in said]
    versions.append(await ann.send(group, first))
    edit = pb.EditMessageRequest(request_id=request_id(), conversation_id=group, message_version=versions[-1])
    edit.content.text = second
    await ann.call("EditMessage", edit)
    other = (await ann.create_group(bob.id)).conversation_id
    there = await ann.send(other, forwarded)
    forward = pb.ForwardMessageRequest(
        request_id=request_id(), conversation_id=group, from_conversation_id=other, message_version=there
    )
    versions.append((await bob.call("ForwardMessage", forward)).version)
    rich = ann.message(group, "")
    rich.content.attributes["note"] = attribute
    rich.content.parts.add().card.title = card
    rich.content.reply_to.append(versions[0])
    rich.content.mentions.user_ids.append(bob.id)
    versions.append((await ann.call("SendMessage", rich)).version)
    return group, versions


async def read(user: User, group: str, after: int = 1) -> dict[int, chat_pb2.Message]:
    """A conversation's messages by version, from about a version on."""
    request = pb.ListMessagesRequest(conversation_id=group, oldest_first=True, from_version=after - 1, page_size=100)
    page = await user.call("ListMessages", request)
    return {message.version: message for message in page.messages}


async def test_words_are_sealed_wherever_they_are_kept(own_nats_server: NatsServer, tmp_path: Path) -> None:
    texts = [word() for _ in range(7)]
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann, bob = world.user("ann"), world.user("bob")
        group, versions = await talk(ann, bob, texts)
        found = await read(bob, group)
        plain, quick, first, second, forwarded, attribute, card = texts
        assert [found[version].content.text for version in versions] == [plain, quick, quick, second, forwarded, ""]
        rich = found[versions[-1]].content
        assert (rich.attributes["note"], rich.parts[0].card.title) == (attribute, card)
        assert list(rich.reply_to) == [versions[0]]
        wordings = await bob.call(
            "ListMessageEdits", pb.ListMessageEditsRequest(conversation_id=group, message_version=versions[3])
        )
        assert [each.content.text for each in wordings.wordings] == [first, second]
        events = await watched(bob.watch(group), max(versions))
        assert {event.message.text for event in events if event.HasField("message")} == {
            plain, quick, first, forwarded, "",
        }  # fmt: skip
        assert [event.edited.content.text for event in events if event.HasField("edited")] == [second]
        assert not any(event.message.sealed or event.message.erased for event in events)
        kept = await logged(world)
        assert b"bob" in kept
        assert [text for text in texts if text.encode() in kept] == []
    await asyncio.to_thread(own_nats_server.stop)
    kept = await asyncio.to_thread(on_disk, tmp_path)
    assert group.encode() in kept
    assert [text for text in texts if text.encode() in kept] == []


async def test_each_process_opens_what_the_other_sealed(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as one, chat_world(own_nats_server.url, tmp_path) as other:
        ann, bob = one.user("ann"), other.user("bob")
        group = (await ann.create_group("bob")).conversation_id
        stream = bob.watch(group)
        said, answered = await ann.send(group, "there"), await bob.send(group, "and back")
        repeated = ann.message(group, "only once")
        first = await ann.call("SendMessage", repeated)
        bobs = other.user("ann")
        assert (await bobs.call("SendMessage", repeated)).version == first.version
        events = {event.version: event.message.text for event in await watched(stream, first.version)}
        assert (events[said], events[answered]) == ("there", "and back")
        assert (await read(ann, group))[answered].content.text == "and back"


async def test_contents_gives_words_to_whoever_reads_payloads(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann = world.user("ann")
        group = (await ann.create_group()).conversation_id
        await ann.send(group, "hello")
        payloads = [event.payload for event in await world.ledger.history(AggregateId(TENANT, KIND, group), limit=9)]
        keys = PersonKeys(world.ledger, Master.from_file(key_file(tmp_path)))
        events = await Contents(keys).events(TENANT, payloads)
        assert [event.message.text for event in events if event.HasField("message")] == ["hello"]
        with pytest.raises(StoreUnavailable):
            await Contents().events(TENANT, payloads)
        with pytest.raises(StoreUnavailable):
            await Contents(PersonKeys(world.ledger, Master([bytes(32)]))).events(TENANT, payloads)


async def test_without_a_key_file_nothing_is_sealed(own_nats_server: NatsServer, tmp_path: Path) -> None:
    text = word()
    async with chat_world(own_nats_server.url, tmp_path, person_key_file=None) as world:
        ann = world.user("ann")
        group = (await ann.create_group()).conversation_id
        said = ann.message(group, text)
        version = (await ann.call("SendMessage", said)).version
        assert (await read(ann, group))[version].content.text == text
    async with chat_world(own_nats_server.url, tmp_path) as world:  # what was said before is read still
        ann = world.user("ann")
        assert (await read(ann, group))[version].content.text == text
        assert (await ann.call("SendMessage", said)).version == version  # and its repetition known
        said.content.text = "another"
        assert (await refused(ann.call("SendMessage", said)))[1] == "REQUEST_ID_REUSED"


async def test_nobody_sends_what_is_sealed_already(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann = world.user("ann")
        group = (await ann.create_group()).conversation_id
        for content in (chat_pb2.MessageContent(text="x", erased=True), chat_pb2.MessageContent(text="x", sealed=b"x")):
            said = ann.message(group, "")
            said.content.CopyFrom(content)
            with pytest.raises(Exception, match="only the server"):
                await ann.call("SendMessage", said)
