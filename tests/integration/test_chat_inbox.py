"""A user's list of conversations, live, over two processes on one log and one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import inbox_service_pb2 as pb

from tests.integration.chat_world import ChatWorld, refused, request_id
from tests.integration.inbox_world import Reader, mark, member, say, two_worlds
from tests.servers import NatsServer

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")

Worlds = tuple[ChatWorld, ChatWorld]


@pytest_asyncio.fixture
async def worlds(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Worlds]:
    async with two_worlds(own_nats_server.url, tmp_path) as running:
        yield running


async def test_the_list_is_in_order_of_activity_and_counts_exactly(worlds: Worlds) -> None:
    ada, bob = worlds[0].user("ada"), Reader(worlds[1].user("bob"))
    names = [(await ada.create_group("bob", title=f"group {number}")).conversation_id for number in range(3)]
    await say(ada, names[0], "first", ["bob"])
    shown = bob.watch()
    await shown.until(lambda shown: len(shown.entries) == 3)
    assert shown.frames == 1
    assert shown.order == [names[0], names[2], names[1]]
    assert shown.unread(names[0]) == (1, 1)
    assert shown.entries[names[0]].last_message.text == "first"
    assert (shown.entries[names[0]].title, shown.entries[names[0]].member_count) == ("group 0", 2)
    assert not shown.entries[names[1]].HasField("last_message")
    last = 0
    for number in range(5):
        last = await say(ada, names[1], f"word {number}", ["bob"] if number % 2 else ())
    await say(bob.user, names[2], "mine")
    await shown.until(lambda shown: shown.unread(names[1]) == (5, 2) and shown.order[0] == names[2])
    assert shown.order == [names[2], names[1], names[0]]
    assert shown.entries[names[1]].last_message.version == last
    assert shown.entries[names[1]].last_message.text == "word 4"
    assert shown.unread(names[2]) == (0, 0)
    assert (shown.totals.unread_count, shown.totals.mention_count, shown.totals.conversation_count) == (6, 3, 2)
    assert await bob.totals() == shown.totals
    assert [entry.conversation_id for entry in await bob.list(page_size=1)] == shown.order
    assert {entry.conversation_id: entry for entry in await bob.list()} == shown.entries


async def test_edits_and_deletions_show_and_count(worlds: Worlds) -> None:
    ada, bob = worlds[0].user("ada"), Reader(worlds[1].user("bob"))
    name = (await ada.create_group("bob")).conversation_id
    one, two = await say(ada, name, "one"), await say(ada, name, "two", ["bob"])
    shown = bob.watch()
    await shown.until(lambda shown: shown.unread(name) == (2, 1))
    await ada.call(
        "EditMessage",
        chat.EditMessageRequest(
            request_id=request_id(),
            conversation_id=name,
            message_version=two,
            content=chat_pb2.MessageContent(text="deux"),
        ),
    )
    await shown.until(lambda shown: shown.entries[name].last_message.text == "deux")
    assert shown.entries[name].last_message.edited
    for version, for_me in ((two, False), (one, True)):
        gone = chat.DeleteMessageRequest(
            request_id=request_id(), conversation_id=name, message_version=version, for_me=for_me
        )
        await (bob.user if for_me else ada).call("DeleteMessage", gone)
    await shown.until(lambda shown: shown.unread(name) == (0, 0))
    assert shown.entries[name].last_message.deleted
    assert shown.entries[name].last_message.text == ""
    last = await say(ada, name, "three")
    await shown.until(lambda shown: shown.entries[name].last_message.version == last)
    hidden = chat.DeleteMessageRequest(request_id=request_id(), conversation_id=name, message_version=last, for_me=True)
    await bob.user.call("DeleteMessage", hidden)
    await shown.until(lambda shown: not shown.entries[name].HasField("last_message"))
    assert shown.unread(name) == (0, 0)
    react = chat.AddReactionRequest(request_id=request_id(), conversation_id=name, message_version=last, emoji="👍")
    await ada.call("AddReaction", react)
    await shown.until(lambda shown: shown.entries[name].version == last + 1)
    assert not shown.entries[name].HasField("last_message")
    assert [entry.last_message for entry in await bob.list()] == [shown.entries[name].last_message]


async def test_who_is_added_sees_it_at_once_and_who_is_removed_no_more(worlds: Worlds) -> None:
    ada, bob = worlds[0].user("ada"), Reader(worlds[1].user("bob"))
    shown = bob.watch()
    await shown.until(lambda shown: shown.frames == 1)
    name = (await ada.create_group("cy")).conversation_id
    await say(ada, name)
    await member(ada, "AddMembers", name, "bob")
    await shown.until(lambda shown: name in shown.entries)
    assert shown.unread(name) == (0, 0)
    await say(ada, name)
    await shown.until(lambda shown: shown.unread(name) == (1, 0) and shown.totals.unread_count == 1)
    await member(ada, "RemoveMembers", name, "bob")
    await shown.until(lambda shown: name not in shown.entries and shown.totals.unread_count == 0)
    request = chat.CreateConversationRequest(
        request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL, open=True, title="News"
    )
    news = (await ada.call("CreateConversation", request)).conversation.conversation_id
    joined = chat.JoinConversationRequest(request_id=request_id(), conversation_id=news)
    await worlds[0].user("bob").call("JoinConversation", joined)
    await shown.until(lambda shown: news in shown.entries)
    await say(ada, news, mentions=["bob"])
    await shown.until(lambda shown: shown.unread(news) == (1, 1))
    banned = chat.BanMemberRequest(request_id=request_id(), conversation_id=news, user_id="bob")
    await ada.call("BanMember", banned)
    await shown.until(lambda shown: news not in shown.entries)
    assert await bob.list() == []
    assert (await bob.totals()).unread_count == 0


async def test_what_one_device_reads_is_read_on_the_other(worlds: Worlds) -> None:
    ada = worlds[0].user("ada")
    devices = [Reader(world.user("bob")) for world in worlds]
    name = (await ada.create_group("bob")).conversation_id
    last = [await say(ada, name, mentions=["bob"]) for _ in range(4)][-2]
    lists = [device.watch() for device in devices]
    for shown in lists:
        await shown.until(lambda shown: shown.unread(name) == (4, 4))
    await mark(devices[0].user, name, last)
    for shown in lists:
        await shown.until(lambda shown: shown.unread(name) == (1, 1) and shown.totals.mention_count == 1)
        assert shown.entries[name].read_version == last


async def test_archived_muted_and_hidden_keep_their_rules(worlds: Worlds) -> None:
    ada, bob = worlds[0].user("ada"), Reader(worlds[1].user("bob"))
    elsewhere = Reader(worlds[0].user("bob"))
    name = (await ada.create_group("bob")).conversation_id
    await say(ada, name)
    shown = bob.watch()
    await shown.until(lambda shown: shown.unread(name) == (1, 0))

    assert (await elsewhere.set("ArchiveConversation", name)).archived
    await shown.until(lambda shown: shown.entries[name].archived and shown.totals.archived_unread_count == 1)
    assert shown.totals.unread_count == 0
    assert await bob.list(archived=pb.FLAG_FILTER_WITHOUT) == []
    assert len(await bob.list(archived=pb.FLAG_FILTER_ONLY)) == 1
    await say(ada, name)  # it is back
    await shown.until(lambda shown: not shown.entries[name].archived and shown.totals.unread_count == 2)

    entry = await elsewhere.set("MuteNotifications", name)
    assert (entry.muted, entry.archived) == (True, False)  # muted only now, it is not put aside again
    await elsewhere.set("ArchiveConversation", name)
    await say(ada, name, mentions=["bob"])  # it stays
    await shown.until(lambda shown: shown.entries[name].archived and shown.totals.archived_mention_count == 1)
    assert not (await elsewhere.set("UnarchiveConversation", name)).archived
    await shown.until(lambda shown: shown.totals.muted_unread_count == 3 and shown.totals.muted_mention_count == 1)
    assert len(await bob.list(muted=pb.FLAG_FILTER_ONLY)) == 1

    entry = await elsewhere.set("MuteNotifications", name, duration=Duration(seconds=3600))
    assert entry.muted
    assert entry.HasField("muted_until")
    await shown.until(lambda shown: shown.entries[name].HasField("muted_until"))
    await elsewhere.set("MuteNotifications", name, duration=Duration(nanos=300_000_000))
    await shown.until(lambda shown: not shown.entries[name].muted and shown.totals.unread_count == 3)

    assert (await elsewhere.set("HideConversation", name)).hidden
    await shown.until(lambda shown: name not in shown.entries)
    assert await bob.list() == []
    assert len(await bob.list(include_hidden=True)) == 1
    await say(ada, name)
    await shown.until(lambda shown: shown.unread(name) == (4, 1))
    assert len(await bob.list()) == 1
    await elsewhere.set("HideConversation", name)
    await shown.until(lambda shown: name not in shown.entries)
    await elsewhere.set("ShowConversation", name)
    await shown.until(lambda shown: name in shown.entries)
    assert await bob.totals() == shown.totals


async def test_a_flag_set_twice_by_one_request_is_set_once(worlds: Worlds) -> None:
    ada, bob = worlds[0].user("ada"), Reader(worlds[1].user("bob"))
    name = (await ada.create_group("bob")).conversation_id
    request = pb.MuteNotificationsRequest(
        request_id=request_id(), conversation_id=name, duration=Duration(seconds=3600)
    )
    first = (await bob.call("MuteNotifications", request)).entry
    again = (await Reader(worlds[0].user("bob")).call("MuteNotifications", request)).entry
    assert first.muted_until == again.muted_until
    request.duration.seconds = 1
    assert await refused(bob.call("MuteNotifications", request)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )


async def test_nobody_sees_or_flags_what_is_not_theirs(worlds: Worlds) -> None:
    ada = worlds[0].user("ada")
    name = (await ada.create_group("bob")).conversation_id
    await say(ada, name)
    strangers = [Reader(worlds[1].user("eve")), Reader(worlds[1].user("bob", tenant="other"))]
    for stranger in strangers:
        assert await stranger.list(include_hidden=True) == []
        assert await stranger.totals() == pb.UnreadTotals()
        shown = stranger.watch()
        await shown.until(lambda shown: shown.frames == 1)
        assert not shown.entries
        for flag in ("ArchiveConversation", "MuteNotifications", "HideConversation", "ShowConversation"):
            assert await refused(stranger.set(flag, name)) == NOT_FOUND
        watch = stranger.call("WatchReceipts", pb.WatchReceiptsRequest(conversation_id=name))
        assert await refused(watch.read()) == NOT_FOUND
    chief = Reader(worlds[1].user("chief", "admin"))
    assert (await refused(chief.set("HideConversation", name)))[1] == "NOT_A_MEMBER"
    assert await chief.list() == []


async def test_pages_go_on_where_the_stream_s_first_frame_ends(worlds: Worlds) -> None:
    ada, bob = worlds[0].user("ada"), Reader(worlds[1].user("bob"))
    names = [(await ada.create_group("bob")).conversation_id for _ in range(7)]
    for name in names[3:]:
        await say(ada, name)
    newest_first = [*reversed(names[3:]), *reversed(names[:3])]
    shown = bob.watch(page_size=3)
    await shown.until(lambda shown: shown.frames == 1)
    assert list(shown.entries) == newest_first[:3]
    assert shown.totals.unread_count == 4  # of all of them
    page = await bob.call("ListInbox", pb.ListInboxRequest(page_token=shown.older, page_size=10))
    assert [entry.conversation_id for entry in page.entries] == newest_first[3:]
    assert page.next_page_token == ""
    await say(ada, names[0])  # was never told to the stream
    await shown.until(lambda shown: shown.unread(names[0]) == (1, 0))
    unread = await bob.list(page_size=2, unread_only=True)
    assert [entry.conversation_id for entry in unread] == [names[0], *reversed(names[3:])]
    wrong = pb.ListInboxRequest(page_token=shown.older, unread_only=True)
    assert (await refused(bob.call("ListInbox", wrong)))[1] == "INVALID_PAGE_TOKEN"


async def test_a_draining_server_sends_its_readers_elsewhere(worlds: Worlds) -> None:
    bob = Reader(worlds[0].user("bob"))
    name = (await bob.user.create_group()).conversation_id
    shown = bob.watch()
    await shown.until(lambda shown: name in shown.entries)
    receipts = bob.call("WatchReceipts", pb.WatchReceiptsRequest(conversation_id=name))
    assert (await receipts.read()).whole
    draining = asyncio.create_task(worlds[0].server.drain())
    await shown.until(lambda shown: shown.going_away is not None)
    assert (await receipts.read()).HasField("going_away")
    assert await shown.call.read() is grpc.aio.EOF
    await draining


@pytest.mark.parametrize("last", ["read", "delivered"])
async def test_receipts_rise_live(worlds: Worlds, last: str) -> None:
    ada, bob = Reader(worlds[0].user("ada")), worlds[1].user("bob")
    name = (await ada.user.create_group("bob", "cy")).conversation_id
    versions = [await say(ada.user, name) for _ in range(3)]
    await mark(bob, name, versions[0])
    watch = ada.call("WatchReceipts", pb.WatchReceiptsRequest(conversation_id=name))
    first = await watch.read()
    assert first.whole
    assert [(each.user_id, each.read_version) for each in first.receipts] == [("bob", versions[0])]
    marked = chat.MarkMessagesRequest(conversation_id=name, **{f"{last}_version": versions[2]})
    await bob.call("MarkMessages", marked)
    receipt = first.receipts[0]
    async with asyncio.timeout(60):
        while receipt.delivered_version != versions[2]:
            (receipt,) = (await watch.read()).receipts
    assert receipt.read_version == (versions[2] if last == "read" else versions[0])
    await member(ada.user, "RemoveMembers", name, "bob")
    async with asyncio.timeout(60):
        assert list((await watch.read()).removed_user_ids) == ["bob"]
    theirs = Reader(worlds[1].user("cy")).call("WatchReceipts", pb.WatchReceiptsRequest(conversation_id=name))
    assert not (await theirs.read()).receipts
    await member(ada.user, "RemoveMembers", name, "cy")
    assert (await refused(theirs.read()))[1] == "NOT_A_MEMBER"
