"""Presence over two Chat services on one NATS."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import nats
import pytest
from nats.aio.msg import Msg
from tradewind.chat.v1 import moderation_service_pb2, moderation_service_pb2_grpc
from tradewind.chat.v1 import presence_service_pb2 as pb

from services.chat.presence import words
from services.chat.presence.domain import State
from services.chat.presence.slots import SLOTS
from tests.integration.chat_world import ChatWorld, facts_of, refused, request_id
from tests.integration.presence_world import AWAY, OFFLINE, ONLINE, UNKNOWN, Person, Watching, services
from tests.servers import NatsServer


async def test_over_devices_and_processes_online_comes_before_away(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path) as (here, there):
        ada, again, bob = Person(here, "ada"), Person(there, "ada"), Person(there, "bob")
        first = await ada.report(AWAY, "phone")
        assert (first.presence.state, first.lease_seconds) == (AWAY, 60)
        both = await again.report(ONLINE, "laptop", lease=10)
        assert (both.presence.state, both.lease_seconds) == (ONLINE, 10)
        assert [each.state for each in await bob.get("ada", "bob")] == [ONLINE, OFFLINE]
        assert (await ada.report(AWAY, "laptop")).presence.state == AWAY
        before = time.time()
        await again.report(OFFLINE, "phone")
        gone = await ada.report(OFFLINE, "laptop")
        assert (gone.presence.state, gone.lease_seconds) == (OFFLINE, 0)
        (seen,) = await bob.get("ada")
        assert seen.state == OFFLINE
        assert int(before) <= seen.last_seen_time.seconds <= time.time()
        (never,) = await bob.get("nobody")
        assert never == pb.Presence(user_id="nobody", state=OFFLINE)


async def test_a_killed_client_fades_by_itself_and_its_watcher_is_told(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with services(own_nats_server.url, tmp_path) as (here, there):
        ada, bob = Person(here, "ada"), Person(there, "bob")
        watching = await bob.watch(["ada"])
        named = Watching(bob.call("WatchPresenceOf", pb.WatchPresenceOfRequest(user_ids=["ada"])))
        await watching.until("ada", OFFLINE)
        await named.until("ada", OFFLINE)
        assert (watching.completes, named.completes) == (1, 1)
        await ada.report(ONLINE)
        await watching.until("ada", ONLINE)
        await named.until("ada", ONLINE)
        await ada.report_briefly(State.ONLINE, 0.3)
        seen = await watching.until("ada", OFFLINE)
        assert abs(seen.last_seen_time.seconds - time.time()) < 60
        assert watching.changes("ada") == [OFFLINE, ONLINE, OFFLINE]
        await named.until("ada", OFFLINE)
        assert named.changes("ada") == watching.changes("ada")


async def test_ten_thousand_people_are_watched_with_a_bounded_number_of_messages(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    """Measured at NATS itself: everything that Chat's processes say to each other about presence, besides that they live."""
    people = [f"user-{number}" for number in range(10_000)]
    # A slow moment of the machine is not to be taken for a process that died.
    async with services(own_nats_server.url, tmp_path, presence_beat=4.0) as (here, there):
        for user_id in ("user-0", "user-50"):
            await Person(here, user_id).report(ONLINE)
        ear = await nats.connect(own_nats_server.url)
        heard: list[str] = []

        async def hear(message: Msg) -> None:
            if message.subject != words.BEATS:
                heard.append(message.subject)

        await ear.subscribe(f"{words.PREFIX}.>", cb=hear)
        await ear.flush()
        bob = Person(there, "bob")
        await bob.get("bob")
        subscriptions = len(there.client._subs)
        heard.clear()
        watching = await bob.watch(people)
        await watching.complete()
        assert len(watching.now) == len(people)
        assert {each for each, presence in watching.now.items() if presence.state == ONLINE} == {"user-0", "user-50"}
        await ear.flush()
        # One question a slot, whatever comes of the five frames of additions that overtake each other.
        assert len(heard) <= 5 * SLOTS, len(heard)
        assert there.presence.roster.questions <= 5 * SLOTS
        assert watching.frames <= 5 + len(people) // 500 + 20
        assert len(there.client._subs) - subscriptions <= SLOTS
        # A second watcher of the same people costs nothing at all.
        heard.clear()
        questions = there.presence.roster.questions
        second = await Person(there, "cy").watch(people)
        await second.complete()
        await ear.flush()
        assert (heard, there.presence.roster.questions) == ([], questions)
        # And one who comes costs a report and a change, heard by both.
        await Person(here, "user-7").report(ONLINE)
        await asyncio.gather(*(each.until("user-7", ONLINE) for each in (watching, second)))
        await ear.flush()
        assert [subject.rsplit(".", 1)[1] for subject in heard] == ["report", "changes"]
        await ear.close()


async def test_who_flaps_is_told_of_seldom_and_at_last_as_it_is(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path) as (here, there):
        ada, bob = Person(here, "ada"), Person(there, "bob")
        watching = await bob.watch(["ada"])
        await watching.complete()
        for number in range(200):
            await ada.report(AWAY if number % 2 else ONLINE)
        await ada.report(OFFLINE)
        await watching.until("ada", OFFLINE)
        assert (await bob.get("ada"))[0].state == OFFLINE
        assert len(watching.told) < 12


async def test_people_are_added_and_removed(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path, 1) as (here,):
        ada, cy, bob = (Person(here, name) for name in ("ada", "cy", "bob"))
        watching = await bob.watch(["ada"])
        await watching.until("ada", OFFLINE)
        await watching.call.write(pb.WatchPresenceRequest(add_user_ids=["cy"], remove_user_ids=["ada"]))
        await watching.until("cy", OFFLINE)
        assert watching.completes == 2
        await ada.report(ONLINE)
        await cy.report(ONLINE)
        await watching.until("cy", ONLINE)
        await watching.call.write(pb.WatchPresenceRequest(add_user_ids=["ada"]))
        await watching.until("ada", ONLINE)
        assert watching.changes("ada") == [OFFLINE, ONLINE]


async def test_tenants_are_apart(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path) as (here, there):
        await Person(here, "ada").report(ONLINE)
        stranger = Person(there, "ada", tenant="other")
        (seen,) = await stranger.get("ada")
        assert seen == pb.Presence(user_id="ada", state=OFFLINE)
        watching = await stranger.watch(["ada"])
        await watching.until("ada", OFFLINE)
        await Person(here, "ada").report(AWAY, "laptop")
        await stranger.report(ONLINE)
        await watching.until("ada", ONLINE)
        assert watching.changes("ada") == [OFFLINE, ONLINE]


async def test_who_is_banned_from_the_tenant_is_shown_as_gone(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path) as worlds:
        await _banned_and_gone(worlds[0], worlds[1])


async def _banned_and_gone(here: ChatWorld, there: ChatWorld) -> None:
    ada, bob = Person(here, "ada"), Person(there, "bob")
    await ada.report(ONLINE)
    await ada.report(AWAY, "laptop")
    watching = await bob.watch(["ada", "cy"])
    await watching.until("ada", ONLINE)
    chief = here.user("chief", "admin")
    stub: Any = moderation_service_pb2_grpc.ModerationServiceStub(chief.channel)
    for user_id in ("ada", "cy"):
        ban = moderation_service_pb2.BanUserRequest(request_id=request_id(), user_id=user_id)
        await stub.BanUser(ban, metadata=chief.metadata)
    await watching.until("ada", OFFLINE)
    (gone, never_there) = await bob.get("ada", "cy")
    assert (gone.state, gone.HasField("last_seen_time")) == (OFFLINE, True)
    assert (never_there.state, never_there.HasField("last_seen_time")) == (OFFLINE, False)


async def test_limits_are_told(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path, 1, presence_people=1) as (here,):
        ada, bob = Person(here, "ada"), Person(here, "bob")
        await ada.report(ONLINE)
        await ada.report(ONLINE, "laptop")
        assert await refused(bob.report(ONLINE)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        for request in (
            pb.ReportPresenceRequest(device_id="phone", state=UNKNOWN),
            pb.ReportPresenceRequest(device_id="a b", state=ONLINE),
            pb.ReportPresenceRequest(device_id="phone", state=ONLINE, lease_seconds=9),
            pb.ReportPresenceRequest(device_id="phone", state=ONLINE, lease_seconds=301),
        ):
            assert (await refused(ada.call("ReportPresence", request)))[1] == "INVALID_FIELD"
        watching = await bob.watch(f"user-{number}" for number in range(10_001))
        with pytest.raises(grpc.aio.AioRpcError) as told:
            while await watching.frame():
                pass
        assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert facts_of(told.value)[0] == "INVALID_FIELD"


async def test_who_does_not_read_costs_no_queue_and_gets_the_last_state(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    people = [f"user-{number}" for number in range(300)]
    async with services(own_nats_server.url, tmp_path, 1) as (here,):
        listed = [Person(here, user_id) for user_id in people[:10]]
        bob, cy = Person(here, "bob"), Person(here, "cy")
        slow, quick = await bob.watch(people), await cy.watch(people)
        await quick.complete()
        for state in (ONLINE, AWAY, ONLINE):
            await asyncio.gather(*(each.report(state) for each in listed))
            for each in listed:
                await quick.until(each.id, state)
        streams = {listener for view in here.presence.roster._views.values() for each in view.people.values()
                   for listener in each.listeners}  # fmt: skip
        assert len(streams) == 2
        assert all(len(stream._changed) <= len(people) for stream in streams)  # type: ignore[attr-defined]
        for each in listed:
            await slow.until(each.id, ONLINE)


async def test_a_drain_sends_watchers_elsewhere(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with services(own_nats_server.url, tmp_path) as (here, there):
        ada, bob = Person(here, "ada"), Person(there, "bob")
        group = await ada.user.create_group("bob")
        watching, typing = await bob.watch(["ada"]), bob.watch_typing(group.conversation_id)
        await watching.complete()
        assert (await typing.read()).typing
        await there.server.drain()
        while await watching.frame():
            pass
        assert watching.going_away is not None
        assert (await typing.read()).HasField("going_away")


async def test_without_nats_presence_is_unavailable_then_unknown_and_comes_back(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with services(own_nats_server.url, tmp_path) as (here, there):
        ada, bob = Person(here, "ada"), Person(there, "bob")
        await ada.report(ONLINE)
        watching = await bob.watch(["ada"])
        await watching.until("ada", ONLINE)
        await asyncio.to_thread(own_nats_server.kill)
        await watching.until("ada", UNKNOWN)
        asked = bob.call("GetPresence", pb.GetPresenceRequest(user_ids=["ada"]))
        assert await refused(asked) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        reported = ada.call("ReportPresence", pb.ReportPresenceRequest(device_id="phone", state=AWAY))
        assert await refused(reported) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        await asyncio.to_thread(own_nats_server.start)
        await watching.until("ada", ONLINE)
        await ada.report(AWAY)
        await watching.until("ada", AWAY)
