"""Lists that are exact whatever happens: people who come and go, readers who stall, words between processes that are lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import inbox_service_pb2 as pb
from tradewind.chat.v1 import privacy_service_pb2, privacy_service_pb2_grpc

from services.chat import domain, receipts
from services.chat.access import Actor
from services.chat.commands import KIND, now_us
from services.chat.kinds import KINDS
from services.ledger.decider import Request
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings
from services.ledger.sqlite import SqliteArchive
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world, request_id
from tests.integration.inbox_world import Reader, Shown, mark, member, say, two_worlds
from tests.servers import NatsServer

Worlds = tuple[ChatWorld, ChatWorld]


@pytest_asyncio.fixture
async def worlds(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Worlds]:
    async with two_worlds(own_nats_server.url, tmp_path) as running:
        yield running


@pytest.mark.parametrize("seed", range(2))
async def test_a_list_is_what_the_counts_say_whatever_happens(worlds: Worlds, seed: int) -> None:
    """Three people talk, read, mention, delete, come and go on both servers; in the end every list is what unary calls say."""
    chance = random.Random(seed)
    people = ("ada", "bob", "cy")
    users = {person: [world.user(person) for world in worlds] for person in people}
    names = [(await users["ada"][0].create_group("bob", "cy")).conversation_id for _ in range(3)]
    lists = {person: [Reader(user).watch() for user in users[person]] for person in people}
    for shown in (each for both in lists.values() for each in both):
        await shown.until(lambda shown: len(shown.entries) == 3)
    said: dict[str, list[int]] = {name: [] for name in names}
    out: set[tuple[str, str]] = set()
    for _ in range(150):
        name, person = chance.choice(names), chance.choice(people)
        user = users[person][chance.randrange(2)]
        there = (name, person) not in out
        match chance.choice(("say", "say", "say", "mark", "delete", "hide", "member", "react")):
            case "say" if there:
                said[name].append(await say(user, name, mentions=chance.sample(people, chance.randrange(3))))
            case "mark" if there and said[name]:
                await mark(user, name, chance.choice(said[name]))
            case "delete" | "hide" as way if there and said[name]:
                gone = chat.DeleteMessageRequest(request_id=request_id(), conversation_id=name, for_me=way == "hide")
                gone.message_version = chance.choice(said[name])
                await (user if way == "hide" else users["ada"][0]).call("DeleteMessage", gone)
            case "member" if person != "ada":
                await member(users["ada"][0], "RemoveMembers" if there else "AddMembers", name, person)
                (out.add if there else out.remove)((name, person))
            case "react" if there and said[name]:
                liked = chat.AddReactionRequest(request_id=request_id(), conversation_id=name, emoji="👍")
                liked.message_version = said[name][-1]
                await liked_or_deleted(user, liked)
    for person in people:
        listed = {entry.conversation_id: entry for entry in await Reader(users[person][0]).list()}
        counted = {
            name: (await users[person][1].call("GetUnread", chat.GetUnreadRequest(conversation_id=name))).unread
            for name in listed
        }
        assert set(listed) == {name for name in names if (name, person) not in out}
        totals = await Reader(users[person][1]).totals()
        assert totals.unread_count == sum(each.count for each in counted.values())
        for name, entry in listed.items():
            assert (entry.unread_count, entry.mention_count) == (counted[name].count, counted[name].mention_count)
        for shown in lists[person]:
            await shown.until(partial(agrees, listed, totals))


async def liked_or_deleted(user: User, request: chat.AddReactionRequest) -> None:
    """Like a message, which may have been deleted."""
    try:
        await user.call("AddReaction", request)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_reader_that_stalls_costs_nothing_and_is_told_the_newest(worlds: Worlds) -> None:
    ada = worlds[0].user("ada")
    # Its client takes no more than a window of 64 KiB, and nobody reads.
    stalled = Reader(worlds[1].user("bob", options=[("grpc.http2.bdp_probe", 0)]))
    others = Reader(worlds[1].user("cy"))
    names = [(await ada.create_group("bob", "cy", title="x" * 250)).conversation_id for _ in range(20)]
    waits, reads = stalled.watch(), others.watch()
    await waits.until(lambda shown: len(shown.entries) == 20)
    talk = ada.converse()
    for turn in range(40):
        await talk.write(*(ada.message(name, f"{turn} " + "words " * 60) for name in names))
        await reads.until(partial(says, str(turn)))
    # It was told what fits a window; of the rest its stream knows where to look, and no more.
    assert max(worlds[1].inbox.waiting) == len(names)
    await waits.until(partial(says, "39"))
    assert waits.totals.unread_count == 800
    talk.call.cancel()


def says(word: str, shown: Shown) -> bool:
    """Whether the last message of every conversation begins with a word."""
    return {entry.last_message.text.partition(" ")[0] for entry in shown.entries.values()} == {word}


def agrees(entries: dict[str, pb.InboxEntry], totals: pb.UnreadTotals, shown: Shown) -> bool:
    return shown.entries == entries and shown.totals == totals


async def test_what_was_not_heard_is_found_all_the_same(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """A process that tells the others nothing adds, removes and reads; lists and receipts come to it by themselves."""
    async with (
        chat_world(own_nats_server.url, tmp_path, inbox_interval=0.02, inbox_survey=0.1) as world,
        silent_ledger(world, tmp_path) as silent,
    ):
        ada, bob = world.user("ada"), Reader(world.user("bob"))
        stays, goes, comes = [(await ada.create_group(*who)).conversation_id for who in (["bob"], ["bob"], [])]
        last = await say(ada, stays)
        await bob.user.call("MarkMessages", chat.MarkMessagesRequest(conversation_id=goes, delivered_version=1))
        shown = bob.watch()
        receipts_ = Reader(ada).call("WatchReceipts", pb.WatchReceiptsRequest(conversation_id=stays))
        await shown.until(lambda shown: set(shown.entries) == {stays, goes} and shown.unread(stays) == (1, 0))
        assert (await receipts_.read()).whole

        async def change(name: str, command: domain.Command) -> None:
            named = Request(id=request_id(), fingerprint=b"")
            await silent.execute(AggregateId(TENANT, KIND, name), command, named)

        await change(comes, domain.AddMembers(now_us(), "ada", ("bob",)))
        await change(goes, domain.RemoveMembers(now_us(), "ada", ("bob",)))
        reading = chat.MarkMessagesRequest(conversation_id=stays, read_version=last)
        await receipts.mark(silent, reading, Actor(TENANT, "bob", "", False, False))
        await shown.until(lambda shown: set(shown.entries) == {stays, comes} and shown.unread(stays) == (0, 0))
        async with asyncio.timeout(60):
            assert [each.read_version for each in (await receipts_.read()).receipts] == [last]


async def test_lists_live_through_an_outage_of_the_log(worlds: Worlds, own_nats_server: NatsServer) -> None:
    ada, bob = worlds[0].user("ada"), Reader(worlds[1].user("bob"))
    name, other = [(await ada.create_group("bob")).conversation_id for _ in range(2)]
    last = await say(ada, name)
    shown = bob.watch()
    await shown.until(lambda shown: shown.unread(name) == (1, 0))
    await asyncio.to_thread(own_nats_server.kill)
    assert [entry.conversation_id for entry in await bob.list()] == [name, other]  # the store alone knows
    await mark(worlds[0].user("bob"), name, last)
    await asyncio.to_thread(own_nats_server.start)
    await shown.until(lambda shown: shown.unread(name) == (0, 0))
    message = ada.message(other, "back")
    async with asyncio.timeout(60):
        while True:
            try:
                await ada.call("SendMessage", message)
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0.2)
    await shown.until(lambda shown: shown.unread(other) == (1, 0) and shown.order[0] == other)


async def test_erased_words_go_from_every_list_at_once(worlds: Worlds) -> None:
    ada, bob = worlds[0].user("ada"), Reader(worlds[1].user("bob"))
    name = (await ada.create_group("bob")).conversation_id
    await say(ada, name, "her secret")
    shown = bob.watch()
    await shown.until(lambda shown: shown.entries[name].last_message.text == "her secret")
    chief = worlds[0].user("chief", "admin")
    erase = privacy_service_pb2.ErasePersonRequest(request_id=request_id(), user_id="ada")
    await privacy_service_pb2_grpc.PrivacyServiceStub(chief.channel).ErasePerson(erase, metadata=chief.metadata)
    await shown.until(lambda shown: name not in shown.entries or shown.entries[name].last_message.erased)
    for entry in [*shown.entries.values(), *(await bob.list())]:
        assert entry.last_message.text == ""


@asynccontextmanager
async def silent_ledger(world: ChatWorld, folder: Path) -> AsyncIterator[Ledger]:
    """Open a world's ledger once more, as a process that serves no inbox does."""
    archive = SqliteArchive.open(folder / "chat.db")
    ledger = await Ledger.open(world.client, archive, world.telemetry, LogSettings("chat", partitions=2), KINDS)
    ledger.engine.digest_key = world.ledger.engine.digest_key
    try:
        yield ledger
    finally:
        await ledger.close()
        await archive.close()
