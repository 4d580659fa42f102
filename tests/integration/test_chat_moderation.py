"""Reports, their review, and users banned from a tenant, through gRPC, on a real log and store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from tradewind.chat.v1 import chat_pb2, moderation_pb2, moderation_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import moderation_service_pb2 as pb

from services.chat.moderation import queue as reported
from services.chat.moderation import service as moderation
from services.chat.moderation.domain import reports, standing
from services.chat.moderation.projections import report_of, standing_of
from services.ledger.decider import Request
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world, facts_of, reason_of, refused, request_id
from tests.servers import NatsServer

USER_BANNED = (grpc.StatusCode.PERMISSION_DENIED, "USER_BANNED")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
FORBIDDEN = (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
NO_SUCH_MESSAGE = (grpc.StatusCode.FAILED_PRECONDITION, "NO_SUCH_MESSAGE")


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


def moderate(user: User, rpc: str, **fields: Any) -> Any:
    """Call an rpc of moderation; those that write are given a request id."""
    request = getattr(pb, f"{rpc}Request")(**fields)
    if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
        request.request_id = request_id()
    stub = moderation_service_pb2_grpc.ModerationServiceStub(user.channel)
    return getattr(stub, rpc)(request, metadata=user.metadata)


async def report(user: User, name: str, version: int, text: str = "") -> None:
    await moderate(
        user,
        "ReportMessage",
        conversation_id=name,
        message_version=version,
        reason=moderation_pb2.REPORT_REASON_SPAM,
        text=text,
    )


async def queue(user: User, *, resolved: bool = False) -> list[moderation_pb2.ReportedMessage]:
    return list((await moderate(user, "ListReports", resolved=resolved)).reports)


def resolve(user: User, name: str, version: int, resolution: str, **fields: Any) -> Any:
    value = moderation_pb2.ReportResolution.Value(f"REPORT_RESOLUTION_{resolution}")
    return moderate(user, "ResolveReport", conversation_id=name, message_version=version, resolution=value, **fields)


async def ends(call: Any) -> tuple[grpc.StatusCode, str]:
    """Read a stream to its end, and give how it ended."""
    try:
        async with asyncio.timeout(60):
            while await call.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return error.code(), reason_of(error)
    return await call.code(), ""


async def test_reports_of_a_message_are_one_entry_of_the_queue(world: ChatWorld) -> None:
    ada, bob, cy, chief = world.user("ada"), world.user("bob"), world.user("cy"), world.user("chief", "admin")
    name = (await ada.create_group("bob", "cy")).conversation_id
    first = await ada.send(name, "buy now")
    second = await ada.send(name, "buy this")
    await report(bob, name, second, "rude")
    await report(bob, name, first)
    await report(cy, name, second, "again")
    await report(cy, name, second, "and again")  # once a user
    found = await queue(chief)
    assert [(each.message_version, each.report_count) for each in found] == [(second, 2), (first, 1)]
    entry = found[0]
    assert (entry.sender_id, entry.message.content.text) == ("ada", "buy this")
    assert [(each.reporter_id, each.text) for each in entry.latest] == [("cy", "again"), ("bob", "rude")]
    assert [(each.reason, each.count) for each in entry.reasons] == [(moderation_pb2.REPORT_REASON_SPAM, 2)]
    stored = await world.ledger.history(report_of(TENANT, name, second), limit=10)
    assert len(stored) == 2
    assert not any(b"rude" in each.payload or b"again" in each.payload for each in stored)  # sealed, as messages are
    page = await moderate(chief, "ListReports", page_size=1)
    rest = await moderate(chief, "ListReports", page_size=1, page_token=page.next_page_token)
    assert [each.message_version for each in (*page.reports, *rest.reports)] == [second, first]
    assert not rest.next_page_token


async def test_what_cannot_be_reported(world: ChatWorld) -> None:
    ada, bob, eve = world.user("ada"), world.user("bob"), world.user("eve")
    name = (await ada.create_group("bob")).conversation_id
    said = await ada.send(name, "hi")
    assert await refused(report(eve, name, said)) == NOT_FOUND
    assert await refused(report(world.user("bob", tenant="other"), name, said)) == NOT_FOUND
    assert await refused(report(ada, name, said)) == NO_SUCH_MESSAGE
    assert await refused(report(bob, name, 1)) == NO_SUCH_MESSAGE
    assert await refused(report(bob, name, 99)) == NO_SUCH_MESSAGE
    await ada.call(
        "DeleteMessage", chat.DeleteMessageRequest(request_id=request_id(), conversation_id=name, message_version=said)
    )
    assert await refused(report(bob, name, said)) == NO_SUCH_MESSAGE
    assert await queue(world.user("chief", "admin")) == []


async def test_only_who_moderates_the_tenant_reviews(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    said = await ada.send(name, "hi")
    await report(bob, name, said)
    foreign = world.user("chief", "admin", tenant="other")
    for rpc, fields in {
        "ListReports": {},
        "ListBannedUsers": {},
        "BanUser": {"user_id": "ada"},
        "UnbanUser": {"user_id": "ada"},
    }.items():
        assert await refused(moderate(bob, rpc, **fields)) == FORBIDDEN, rpc
    assert await refused(resolve(bob, name, said, "REMOVED")) == FORBIDDEN
    assert await ends(moderate(bob, "WatchReports")) == FORBIDDEN
    assert await queue(foreign) == []
    assert await refused(resolve(foreign, name, said, "REMOVED")) == NOT_FOUND
    await moderate(foreign, "BanUser", user_id="ada")
    await ada.send(name, "still here")


async def test_a_removed_message_is_deleted_also_between_two(world: ChatWorld) -> None:
    ada, bob, chief = world.user("ada"), world.user("bob"), world.user("chief", "admin")
    request = chat.CreateConversationRequest(
        request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_DIRECT, member_ids=["bob"]
    )
    name = (await ada.call("CreateConversation", request)).conversation.conversation_id
    said = await ada.send(name, "rude")
    await report(bob, name, said)
    answer = await resolve(chief, name, said, "REMOVED", note="insult")
    assert (answer.report.resolver_id, answer.report.note) == ("chief", "insult")
    listed = await bob.call("ListMessages", chat.ListMessagesRequest(conversation_id=name))
    assert [(each.content.text, each.HasField("delete_time")) for each in listed.messages] == [("", True)]
    assert await queue(chief) == []
    assert [each.message.content.text for each in await queue(chief, resolved=True)] == [""]


async def test_a_decision_is_carried_out_also_where_who_decided_died(world: ChatWorld) -> None:
    ada, bob, now = world.user("ada"), world.user("bob"), time.time_ns() // 1000
    name = (await ada.create_group("bob")).conversation_id
    said = await ada.send(name, "rude")
    await report(bob, name, said)
    watching = bob.watch(name, said)
    # What the rpc writes first; all that it does then is left to the consumer of the log.
    command = reports.Resolve(now, "chief", "", reports.Resolution.REMOVED, "")
    await world.ledger.execute(report_of(TENANT, name, said), command, Request(request_id(), b"resolve"))
    async with asyncio.timeout(60):
        (event,) = (await watching.read()).events
    assert (event.deleted.message_version, event.actor_id) == (said, "chief")
    watching.cancel()


async def test_a_ban_that_was_decided_long_ago_and_is_carried_out_now_is_in_force(world: ChatWorld) -> None:
    ada, bob, long_ago = world.user("ada"), world.user("bob"), time.time_ns() // 1000 - 300_000_000
    name = (await ada.create_group("bob")).conversation_id
    said = await ada.send(name, "rude")
    await report(bob, name, said)
    watching = ada.watch(name)
    command = reports.Resolve(long_ago, "chief", "", reports.Resolution.AUTHOR_BANNED, "")
    await world.ledger.execute(report_of(TENANT, name, said), command, Request(request_id(), b"resolve"))
    assert await ends(watching) == USER_BANNED


async def test_of_two_reviewers_one_decides_and_the_other_is_told(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    name = (await ada.create_group("bob")).conversation_id
    said = await ada.send(name, "hm")
    await report(bob, name, said)
    reviewers = [world.user(f"chief{number}", "admin") for number in range(6)]
    names = {each.id: request_id() for each in reviewers}
    answers = await asyncio.gather(
        *(resolve(each, name, said, "DISMISSED", request_id=names[each.id]) for each in reviewers),
        return_exceptions=True,
    )
    decided = [each for each in answers if not isinstance(each, BaseException)]
    told = [facts_of(each) for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert len(decided) == 1
    winner = decided[0].report.resolver_id
    assert told == [("REPORT_RESOLVED", {"resolver_id": winner, "resolution": "DISMISSED"})] * 5
    chief = next(each for each in reviewers if each.id == winner)
    replayed = await resolve(chief, name, said, "DISMISSED", request_id=names[winner])
    assert replayed.report == decided[0].report


async def test_a_dismissed_message_waits_again_when_another_reports_it(world: ChatWorld) -> None:
    ada, bob, cy, chief = world.user("ada"), world.user("bob"), world.user("cy"), world.user("chief", "admin")
    name = (await ada.create_group("bob", "cy")).conversation_id
    said = await ada.send(name, "hm")
    await report(bob, name, said)
    await resolve(chief, name, said, "DISMISSED")
    await report(bob, name, said, "please")
    assert await queue(chief) == []
    await report(cy, name, said)
    assert [(each.report_count, each.latest[0].reporter_id) for each in await queue(chief)] == [(1, "cy")]
    assert await queue(chief, resolved=True) == []
    await resolve(chief, name, said, "DISMISSED")


async def test_the_queue_live(world: ChatWorld) -> None:
    ada, bob, chief = world.user("ada"), world.user("bob"), world.user("chief", "admin")
    name = (await ada.create_group("bob")).conversation_id
    first, second = await ada.send(name, "one"), await ada.send(name, "two")
    await report(bob, name, first)
    stream = moderate(chief, "WatchReports")
    seen: list[tuple[int, int]] = []

    async def until(version: int, resolution: int) -> None:
        async with asyncio.timeout(60):
            while (version, resolution) not in seen:
                seen.extend((each.message_version, each.resolution) for each in (await stream.read()).reports)

    await until(first, 0)
    await report(bob, name, second)
    await until(second, 0)
    await resolve(world.user("other", "admin"), name, first, "DISMISSED")
    await until(first, moderation_pb2.REPORT_RESOLUTION_DISMISSED)
    stream.cancel()


@pytest.mark.parametrize("looks_every", [0.1, 600.0])
async def test_of_a_long_queue_a_stream_gives_what_waits_longest_and_each_once(
    world: ChatWorld, monkeypatch: pytest.MonkeyPatch, looks_every: float
) -> None:
    for name, value in (("_MOST_SENT", 2), ("_PAGE", 1), ("_LOOK_EVERY", looks_every)):
        monkeypatch.setattr(reported, name, value)
    ada, bob, chief = world.user("ada"), world.user("bob"), world.user("chief", "admin")
    name = (await ada.create_group("bob")).conversation_id
    versions = [await ada.send(name, "rude") for _ in range(4)]
    for version in versions:
        await report(bob, name, version)
    stream = moderate(chief, "WatchReports")
    seen: list[tuple[int, int]] = []

    async def until(version: int, resolution: int) -> None:
        async with asyncio.timeout(60):
            while (version, resolution) not in seen:
                seen.extend((each.message_version, each.resolution) for each in (await stream.read()).reports)

    await until(versions[1], 0)
    assert (await stream.read()).more
    # What is reported beyond that is no news yet, and puts nothing out; nor is anything given twice by some more looks.
    versions.append(await ada.send(name, "rude"))
    await report(bob, name, versions[-1])
    await asyncio.sleep(0.5)
    await resolve(world.user("other", "admin"), name, versions[0], "DISMISSED")
    await until(versions[0], moderation_pb2.REPORT_RESOLUTION_DISMISSED)
    await until(versions[2], 0)
    assert sorted(seen) == sorted([*((each, 0) for each in versions[:3]), (versions[0], 1)])
    stream.cancel()


async def test_a_banned_user_can_do_nothing_in_any_process(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as one, chat_world(own_nats_server.url, tmp_path) as two:
        ada, bob, chief = one.user("ada"), two.user("bob"), one.user("chief", "admin")
        name = (await ada.create_group("bob")).conversation_id
        watching, talk = bob.watch(name), bob.converse()
        await talk.write(bob.message(name, "hello"), subscribe={name: 0})
        await talk.until(lambda talk: bool(talk.results))
        assert (await watching.read()).events
        banned = await moderate(chief, "BanUser", user_id="bob", reason="spam")
        assert (banned.banned_user.actor_id, banned.banned_user.HasField("until")) == ("chief", False)
        assert await ends(watching) == USER_BANNED
        assert await ends(talk.call) == USER_BANNED
        bot = one.user("bot", "service")
        for user in (bob, one.user("bob"), one.user("bot", "service", on_behalf_of="bob")):
            assert await refused(user.send(name, "let me")) == USER_BANNED
        assert await refused(bot.call("SendMessage", bot.message(name, "he says", sender_id="bob"))) == USER_BANNED
        assert await refused(report(bob, name, 2)) == USER_BANNED
        assert await ends(bob.watch(name)) == USER_BANNED
        await ada.send(name, "I may")
        assert [each.user_id for each in (await moderate(chief, "ListBannedUsers")).banned_users] == ["bob"]
        await moderate(chief, "UnbanUser", user_id="bob")
        async with asyncio.timeout(60):
            while True:
                try:
                    await bob.send(name, "thank you")
                    break
                except grpc.aio.AioRpcError as error:
                    assert reason_of(error) == "USER_BANNED"
        assert not (await moderate(chief, "ListBannedUsers")).banned_users


async def test_a_ban_that_nobody_whispered_of_is_in_force_within_seconds(world: ChatWorld) -> None:
    ada, now = world.user("ada"), time.time_ns() // 1000
    name = (await ada.create_group()).conversation_id
    watching = ada.watch(name)
    assert (await watching.read()).events
    command = standing.BanUser(now, "chief", "", "ada", 0, "")
    await world.ledger.execute(standing_of(TENANT, "ada"), command, Request(request_id(), b"ban"))
    assert await ends(watching) == USER_BANNED
    assert await refused(ada.send(name, "hm")) == USER_BANNED


async def test_only_so_many_bans_last_and_one_that_was_done_is_answered_as_before(
    world: ChatWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation, "MOST_BANS", 1)
    chief, name = world.user("chief", "admin"), request_id()
    first = await moderate(chief, "BanUser", user_id="ada", request_id=name)
    limit = (grpc.StatusCode.FAILED_PRECONDITION, "SANCTIONS_LIMIT")
    assert await refused(moderate(chief, "BanUser", user_id="bob")) == limit
    assert await moderate(chief, "BanUser", user_id="ada", request_id=name) == first
    longer = await moderate(chief, "BanUser", user_id="ada", reason="still")  # which is not one more
    assert longer.banned_user.reason == "still"


async def test_the_author_of_a_reported_message_is_banned_for_a_time(world: ChatWorld) -> None:
    ada, bob, chief = world.user("ada"), world.user("bob"), world.user("chief", "admin")
    name = (await ada.create_group("bob")).conversation_id
    said = await ada.send(name, "rude")
    await report(bob, name, said)
    await resolve(chief, name, said, "AUTHOR_BANNED", note="rude", ban_duration=Duration(seconds=3600))
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await ada.send(name, "what?")
    reason, facts = facts_of(told.value)
    assert (reason, set(facts)) == ("USER_BANNED", {"until"})
    (shown,) = (await moderate(chief, "ListBannedUsers")).banned_users
    assert (shown.user_id, shown.reason, shown.HasField("until")) == ("ada", "rude", True)
    listed = await bob.call("ListMessages", chat.ListMessagesRequest(conversation_id=name))
    assert [each.content.text for each in listed.messages] == ["rude"]


async def test_a_ban_ends_by_itself_and_nobody_bans_itself(world: ChatWorld) -> None:
    ada, chief = world.user("ada"), world.user("chief", "admin")
    assert await refused(moderate(chief, "BanUser", user_id="chief")) == FORBIDDEN
    name = (await ada.create_group()).conversation_id
    until = (await moderate(chief, "BanUser", user_id="ada", duration=Duration(nanos=300_000_000))).banned_user.until
    assert until.ToNanoseconds()
    async with asyncio.timeout(60):
        while True:
            try:
                await ada.send(name, "back")
                break
            except grpc.aio.AioRpcError as error:
                assert reason_of(error) == "USER_BANNED"
    assert not (await moderate(chief, "ListBannedUsers")).banned_users
