"""Members who are away are told by their devices: once, of what they do not know, and not when they do not want to be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from tradewind.chat.v1 import (
    chat_pb2,
    inbox_service_pb2,
    inbox_service_pb2_grpc,
    moderation_service_pb2,
    moderation_service_pb2_grpc,
    presence_service_pb2,
    presence_service_pb2_grpc,
)
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import device_service_pb2 as devices_pb

from services.chat.push.kinds import ROUNDS
from services.chat.push.told import TOLD
from services.ledger.errors import StoreUnavailable
from services.ledger.ids import AggregateId
from tests.integration.chat_world import User, refused, request_id
from tests.integration.push_world import (
    SOON,
    Simulator,
    devices_of,
    prefer,
    push_world,
    pushing_chat,
    register,
    simulator,
)
from tests.servers import NatsServer
from tests.tally import eventually


async def read(user: User, conversation_id: str, version: int) -> None:
    await user.call("MarkMessages", pb.MarkMessagesRequest(conversation_id=conversation_id, read_version=version))


async def say(user: User, conversation_id: str, text: str, *mentioned: str, all_: bool = False) -> int:
    content = chat_pb2.MessageContent(text=text, mentions=chat_pb2.Mentions(user_ids=mentioned, all=all_))
    request = pb.SendMessageRequest(request_id=request_id(), conversation_id=conversation_id, content=content)
    return int((await user.call("SendMessage", request)).version)


async def present(user: User) -> None:
    stub = presence_service_pb2_grpc.PresenceServiceStub(user.channel)
    request = presence_service_pb2.ReportPresenceRequest(
        device_id="phone", state=presence_service_pb2.PRESENCE_STATE_ONLINE
    )
    await stub.ReportPresence(request, metadata=user.metadata)


def data_of(notification: Any) -> tuple[str, str, int | None]:
    badge = notification.badge if notification.HasField("badge") else None
    return notification.title, notification.body, badge


async def test_who_is_away_is_told_once(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path) as (world, pushed):
        ann, bob, cy = world.user("ann"), world.user("bob"), world.user("cy")
        name = (await ann.create_group("bob", "cy", title="Lunch")).conversation_id
        await register(bob, "bob-phone", locale="de")
        await register(bob, "bob-tablet", device_id="tablet")
        await register(ann, "ann-phone")
        await register(cy, "cy-phone")
        version = await ann.send(name, "Soup   or\nsalad?")
        (told,) = await pushed.until("bob-phone", 1)
        assert data_of(told) == ("Lunch", "ann: Soup or salad?", 1)
        assert dict(told.data) == {
            "kind": "message", "conversation_id": name, "version": str(version), "count": "1",
        }  # fmt: skip
        assert told.locale == "de"
        await pushed.until("bob-tablet", 1)
        # What is said next tells of both, in the place of the first; and who said it is not told.
        await bob.send(name, "Soup")
        (first, second) = await pushed.until("cy-phone", 2)
        assert data_of(second) == ("Lunch (2)", "bob: Soup", 2)
        assert first.collapse_key == second.collapse_key
        assert first.notification_id != second.notification_id
        assert [data_of(each)[1] for each in await pushed.until("ann-phone", 1)] == ["bob: Soup"]
        assert len(await pushed.came("bob-phone")) == 1
        assert set(await pushed.times()) == {1}


async def test_many_messages_are_one_notification(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path, push_retry=0.2) as (world, pushed):
        ann, bob = world.user("ann"), world.user("bob")
        name = (await ann.create_group("bob")).conversation_id
        await register(bob, "bob-phone")
        async with pushed.away():
            await asyncio.gather(*(ann.send(name, f"{number}") for number in range(40)))
        (told, *more) = await pushed.until("bob-phone", 1)
        assert told.data["count"] == "40"
        assert not more


async def test_who_is_here_or_has_read_is_not_told(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path, push_retry=0.2) as (world, pushed):
        ann, bob, cy, dee = (world.user(each) for each in ("ann", "bob", "cy", "dee"))
        name = (await ann.create_group("bob", "cy", "dee")).conversation_id
        for user in (bob, cy, dee):
            await register(user, f"{user.id}-phone")
        await present(bob)
        async with pushed.away():
            version = await ann.send(name, "Hello")
            await read(cy, name, version)
        # All of a round are told together: whoever is not told with dee is not told.
        await pushed.until("dee-phone", 1)
        await ann.send(name, "Hello?")
        await pushed.until("dee-phone", 2)
        (told,) = await pushed.until("cy-phone", 1)
        assert told.data["count"] == "1"
        assert await pushed.came("bob-phone") == []


async def test_the_muted_and_who_wants_mentions_only(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path) as (world, pushed):
        ann, bob, cy, dee, eve = (world.user(each) for each in ("ann", "bob", "cy", "dee", "eve"))
        name = (await ann.create_group("bob", "cy", "dee", "eve")).conversation_id
        for user in (bob, cy, dee, eve):
            await register(user, f"{user.id}-phone")
        await prefer(bob, muted=True)
        await prefer(cy, mentions_only=True)
        await inbox_service_pb2_grpc.InboxServiceStub(dee.channel).MuteNotifications(
            inbox_service_pb2.MuteNotificationsRequest(request_id=request_id(), conversation_id=name),
            metadata=dee.metadata,
        )
        await say(ann, name, "Nobody in particular")
        await pushed.until("eve-phone", 1)
        await say(ann, name, "All of you", all_=True)
        await pushed.until("eve-phone", 2)
        (for_cy,) = await pushed.until(
            "cy-phone", 1
        )  # all are mentioned: that counts, unless the conversation is muted
        await say(ann, name, "You three", "bob", "cy", "dee")
        await pushed.until("eve-phone", 3)
        (for_dee,) = await pushed.until("dee-phone", 1)  # its name was said
        assert for_cy.body.endswith("All of you")
        assert for_dee.body.endswith("You three")
        assert for_dee.data["count"] == "2"  # both mention it, and it has read neither
        assert await pushed.came("bob-phone") == []


async def test_large_groups_and_channels_tell_whom_they_name(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path, push_members=2) as (world, pushed):
        ann, bob, cy, out = (world.user(each) for each in ("ann", "bob", "cy", "out"))
        group = (await ann.create_group("bob", "cy")).conversation_id
        made = await ann.call(
            "CreateConversation",
            pb.CreateConversationRequest(
                request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_CHANNEL, title="News", open=True
            ),
        )
        channel = made.conversation.conversation_id
        await bob.call("JoinConversation", pb.JoinConversationRequest(request_id=request_id(), conversation_id=channel))
        for user in (bob, cy, out):
            await register(user, f"{user.id}-phone")
        for where in (group, channel):
            await say(ann, where, "Everybody", all_=True)
            await say(ann, where, "Bob", "bob", "out")
        told = await pushed.until("bob-phone", 2)
        assert {each.data["conversation_id"] for each in told} == {group, channel}
        assert {each.body.removeprefix("ann: ") for each in told} == {"Bob"}
        assert await pushed.came("cy-phone") == []
        assert await pushed.came("out-phone") == []  # who is not in it is told of nothing in it


async def test_words_as_they_are_when_they_are_told(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path, push_retry=0.2) as (world, pushed):
        ann, bob, cy = world.user("ann"), world.user("bob"), world.user("cy")
        name = (await ann.create_group("bob", "cy")).conversation_id
        await register(bob, "bob-phone")
        await register(cy, "cy-phone")
        await prefer(cy, hide_previews=True)
        async with pushed.away():
            kept = await ann.send(name, "First draft")
            gone = await ann.send(name, "Secret slip")
            edit = pb.EditMessageRequest(request_id=request_id(), conversation_id=name, message_version=kept)
            edit.content.text = "Final words"
            await ann.call("EditMessage", edit)
            await ann.call(
                "DeleteMessage",
                pb.DeleteMessageRequest(request_id=request_id(), conversation_id=name, message_version=gone),
            )
        (for_bob,) = await pushed.until("bob-phone", 1)
        (for_cy,) = await pushed.until("cy-phone", 1)
        assert data_of(for_bob) == ("ann", "Final words", 1)
        assert data_of(for_cy)[1] == "1 new message"
        assert "words" not in str(for_cy)


async def test_who_is_banned_is_told_nothing(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path) as (world, pushed):
        ann, bob, cy, root = world.user("ann"), world.user("bob"), world.user("cy"), world.user("root", "admin")
        name = (await ann.create_group("bob", "cy")).conversation_id
        await register(bob, "bob-phone")
        await register(cy, "cy-phone")
        stub = moderation_service_pb2_grpc.ModerationServiceStub(root.channel)
        ban = moderation_service_pb2.BanUserRequest(request_id=request_id(), user_id="bob")
        await stub.BanUser(ban, metadata=root.metadata)
        await ann.send(name, "Hello")
        await pushed.until("cy-phone", 1)
        assert await pushed.came("bob-phone") == []


async def test_devices(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path) as (world, _):
        ann, bob = world.user("ann"), world.user("bob")
        stub = devices_of(ann)

        async def listed(user: User) -> list[str]:
            answer = await devices_of(user).ListDevices(devices_pb.ListDevicesRequest(), metadata=user.metadata)
            assert "token" not in str(answer)
            return [device.device_id for device in answer.devices]

        for number in range(22):
            await register(ann, f"token-{number}", device_id=f"device-{number:02}", app_version="1.2")
        assert await listed(ann) == [f"device-{number:02}" for number in range(2, 22)]
        await register(bob, "token-21", device_id="bought-from-ann")  # a token is where it was registered last
        assert await listed(bob) == ["bought-from-ann"]
        assert "device-21" not in await listed(ann)
        for _ in range(2):
            request = devices_pb.UnregisterDeviceRequest(device_id="device-05")
            await stub.UnregisterDevice(request, metadata=ann.metadata)
        assert len(await listed(ann)) == 18
        code, reason = await refused(register(ann, "x", device_id=""))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        hours = devices_pb.QuietHours(start_minute=1320, end_minute=420, time_zone="Mars/Olympus")
        code, reason = await refused(prefer(ann, quiet_hours=hours))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        hours.time_zone = "Europe/Berlin"
        await prefer(ann, quiet_hours=hours, mentions_only=True)
        kept = await stub.GetPushPreferences(devices_pb.GetPushPreferencesRequest(), metadata=ann.metadata)
        assert kept.preferences == devices_pb.PushPreferences(quiet_hours=hours, mentions_only=True)
        stranger = world.user("ann", tenant="other")
        assert await listed(stranger) == []


async def test_a_token_that_is_no_more_takes_its_device_along(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path) as (world, pushed):
        ann, bob = world.user("ann"), world.user("bob")
        name = (await ann.create_group("bob")).conversation_id
        await register(bob, "invalid-phone", device_id="old")
        await register(bob, "bob-phone", device_id="new")
        await ann.send(name, "Hello")
        await pushed.until("bob-phone", 1)

        async def only_the_new_one() -> bool:
            answer = await devices_of(bob).ListDevices(devices_pb.ListDevicesRequest(), metadata=bob.metadata)
            return [device.device_id for device in answer.devices] == ["new"]

        await eventually(only_the_new_one)


async def test_one_that_is_put_off_is_told_later(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path, push_retry=0.2) as (world, pushed):
        ann, bob = world.user("ann"), world.user("bob")
        name = (await ann.create_group("bob")).conversation_id
        await register(bob, "later:2:bob", device_id="slow")
        await register(bob, "lost:1:bob", device_id="deaf")
        await ann.send(name, "Hello")
        await pushed.until("later:2:bob", 1)
        # The one whose answer was lost came again under its name, and was shown once.
        await eventually(lambda: _came_again(pushed, "lost:1:bob"))
        assert len(await pushed.came("lost:1:bob")) == 1


async def test_a_gateway_that_is_down_comes_back(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with push_world(own_nats_server.url, tmp_path, push_retry=0.2) as (world, pushed):
        ann, bob = world.user("ann"), world.user("bob")
        name = (await ann.create_group("bob")).conversation_id
        await register(bob, "bob-phone")
        async with pushed.away():
            for number in range(5):
                await ann.send(name, f"{number}")
                await _a_round_has_failed(world, name, number // 2 + 1)
        told = await pushed.until("bob-phone", 1)
        assert told[-1].data["count"] == "5"


async def test_a_process_that_ends_leaves_it_to_the_next(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with simulator(tmp_path) as pushed:
        soon = {**SOON, "push_retry": 0.2}
        async with pushed.away(), pushing_chat(own_nats_server.url, tmp_path, pushed, **soon) as world:
            ann, bob = world.user("ann"), world.user("bob")
            name = (await ann.create_group("bob")).conversation_id
            await register(bob, "bob-phone")
            await ann.send(name, "Hello")
            await _a_round_has_failed(world, name, 1)
        assert await pushed.came() == []
        async with pushing_chat(own_nats_server.url, tmp_path, pushed, **soon):
            (told,) = await pushed.until("bob-phone", 1)
            assert told.body == "Hello"
            assert await pushed.times() == [1]


async def test_a_round_that_was_cut_off_goes_on_as_the_same(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died after the gateway had taken what it said, and before that was written down."""
    async with push_world(own_nats_server.url, tmp_path, push_retry=0.2) as (world, pushed):
        ann, bob = world.user("ann"), world.user("bob")
        name = (await ann.create_group("bob")).conversation_id
        await register(bob, "bob-phone")
        monkeypatch.setattr(world.ledger, "put_rows", _fails_once(world.ledger.put_rows))
        await ann.send(name, "Hello")
        await pushed.until("bob-phone", 1)

        async def came_again() -> bool:
            return await pushed.times("bob-phone") == [2]

        await eventually(came_again)


async def test_tokens_and_words_are_in_no_log_line(own_nats_server: NatsServer, tmp_path: Path, capfd: Any) -> None:
    async with push_world(own_nats_server.url, tmp_path, push_retry=0.2, log_level="debug") as (world, pushed):
        ann, bob = world.user("ann"), world.user("bob")
        name = (await ann.create_group("bob")).conversation_id
        await register(bob, "unavailable:1:hush-token", device_id="a")
        await register(bob, "invalid-hush-token", device_id="b")
        await ann.send(name, "hush-words")
        await pushed.until("unavailable:1:hush-token", 1)
    told = "".join(capfd.readouterr())
    assert "push_not_taken" in told
    assert "hush" not in told


async def _came_again(pushed: Simulator, token: str) -> bool:
    return max(await pushed.times(token), default=0) >= 2


async def _a_round_has_failed(world: Any, name: str, times: int) -> None:
    async def failed() -> bool:
        state = (await world.ledger.read(AggregateId("acme", ROUNDS.name, name))).state
        return bool(state.failures >= times)

    await eventually(failed)


def _fails_once(put: Any) -> Any:
    """The store fails for a moment, just when it is to be written down who was told."""
    failed = False

    async def put_rows(rows: Any) -> None:
        nonlocal failed
        if not failed and any(row.table == TOLD for row in rows):
            failed = True
            raise StoreUnavailable("the store is away for a moment")
        await put(rows)

    return put_rows
