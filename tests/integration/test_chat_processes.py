"""Two processes of Chat on one log and one store: members meet wherever they are connected, and go on elsewhere when one dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.integration.chat_world import TENANT, Talk, User, watched
from tests.integration.order_process import ServiceProcess
from tests.servers import NatsServer


class ChatProcess(ServiceProcess):
    """``python -m services.chat``."""

    def __init__(self, nats_url: str, folder: Path, **settings: str) -> None:
        super().__init__("services.chat", folder, nats_urls=nats_url, order_events="false", **settings)

    def member(self, user_id: str) -> User:
        """Let somebody in, on a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.insecure_channel(self.address, options=options)
        self._channels.append(channel)
        return User(channel, self._signer.mint(user_id, TENANT, ["customer"]), user_id)


@asynccontextmanager
async def pair(nats_url: str, folder: Path, **settings: str) -> AsyncIterator[tuple[ChatProcess, ...]]:
    async with AsyncExitStack() as stack:
        made = tuple(ChatProcess(nats_url, folder, **settings) for _ in range(2))
        for process in made:
            stack.push_async_callback(process.close)
        await asyncio.gather(*(process.start() for process in made))
        yield made


def encoded(events: list[chat_pb2.ConversationEvent]) -> list[bytes]:
    return [event.SerializeToString(deterministic=True) for event in events]


async def say(user: User, talk: Talk, name: str, count: int) -> None:
    """Send so many messages, and see every one taken."""
    for start in range(0, count, 20):
        batch = [user.message(name, f"{user.id} {start + number}") for number in range(20)]
        await talk.write(*batch)
    await talk.until(lambda talk: len(talk.results) == count, 60)
    assert not any(result.HasField("error") for result in talk.results.values()), talk.results


async def test_members_on_both_see_the_same_bytes_while_both_write(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Everybody sends through the process they are connected to; without taking turns one of the two would be refused everything."""
    count = 200
    async with pair(own_nats_server.url, tmp_path) as (one, other):
        ada, bob = one.member("ada"), other.member("bob")
        name = (await ada.create_group("bob", "carol", "dan")).conversation_id
        assert await bob.send(name, "first") == 2  # at once: it was created in the other process a moment ago
        voices = (ada.converse(), bob.converse())
        ears = (other.member("carol").converse(), one.member("dan").converse())
        for ear in ears:
            await ear.write(subscribe={name: 0})
        watches = [process.member("carol").watch(name) for process in (one, other)]
        await asyncio.gather(say(ada, voices[0], name, count), say(bob, voices[1], name, count))
        last = 2 + 2 * count
        for ear in ears:
            await ear.until(lambda talk: len(talk.versions(name)) >= last)
        seen = [encoded(ear.events[name]) for ear in ears]
        seen += [encoded(await watched(watch, last)) for watch in watches]
        assert ears[0].versions(name) == list(range(1, last + 1))
        assert all(each == seen[0] for each in seen)
        for watch in watches:
            watch.cancel()


async def test_whoever_was_on_a_killed_process_goes_on_at_the_other(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with pair(own_nats_server.url, tmp_path) as (one, other):
        ada, bob = one.member("ada"), other.member("bob")
        name = (await ada.create_group("bob")).conversation_id
        ear = bob.converse()
        await ear.write(subscribe={name: 0})
        sends = [ada.message(name, f"{number}") for number in range(400)]
        voice = ada.converse()
        for start in range(0, 400, 20):
            await voice.write(*sends[start : start + 20])
        await voice.until(lambda talk: len(talk.results) >= 40)
        await one.kill()
        elsewhere = other.member("ada")
        voice = elsewhere.converse()
        for start in range(0, 400, 20):  # what was answered is answered the same once more
            await voice.write(*sends[start : start + 20])
        await voice.until(lambda talk: len(talk.results) == 400)
        await ear.until(lambda talk: len(talk.versions(name)) >= 401)
        assert ear.versions(name) == list(range(1, 402))
        resumed = elsewhere.watch(name, after=200)
        assert encoded(await watched(resumed, 201)) == encoded(ear.events[name][200:])
        resumed.cancel()


async def test_a_list_that_changes_meanwhile_shows_what_stays_once(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Pages are turned in one process while the other lets the reader into old and new conversations, and out of some."""
    async with pair(own_nats_server.url, tmp_path) as (one, other):
        ada, bob = one.member("ada"), other.member("bob")
        old = [(await ada.create_group("carol")).conversation_id for _ in range(5)]
        stays: list[str] = []
        goes: list[str] = []
        for number in range(20):
            name = (await ada.create_group("bob")).conversation_id
            (goes if number % 5 == 4 else stays).append(name)
        listed: list[str] = []
        token = ""
        for turn in range(1000):
            page = await bob.call("ListConversations", pb.ListConversationsRequest(page_size=3, page_token=token))
            listed += [conversation.conversation_id for conversation in page.conversations]
            token = page.next_page_token
            if not token:
                break
            await ada.create_group("bob")
            if turn < len(old):
                added = pb.AddMembersRequest(conversation_id=old[turn], user_ids=["bob"])
                added.request_id = ada.message("", "").request_id
                await ada.call("AddMembers", added)
            if turn < len(goes):
                removed = pb.RemoveMembersRequest(conversation_id=goes[turn], user_ids=["bob"])
                removed.request_id = ada.message("", "").request_id
                await ada.call("RemoveMembers", removed)
        assert [name for name in listed if name in stays] == stays[::-1]
        assert len(set(listed)) == len(listed)
        assert set(listed) <= {*old, *stays, *goes}
