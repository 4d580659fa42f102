"""Every rpc of devices by every wrong token, every role, from another user and tenant, and with what no honest client sends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from tradewind.chat.v1 import device_service_pb2 as pb
from tradewind.push.v1 import push_gateway_service_pb2 as push

from services.chat.policy import POLICY
from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.integration.security_table import Answer, ask, bad_tokens, hostile, methods
from tests.servers import NatsServer

CODE = grpc.StatusCode
SERVICE = pb.DESCRIPTOR.services_by_name["DeviceService"]
METHODS = {method.name: method for method in methods((SERVICE,))}
HOURS = pb.QuietHours(start_minute=1320, end_minute=420, time_zone="Europe/Berlin")
REQUESTS: Mapping[str, Message] = {
    "RegisterDevice": pb.RegisterDeviceRequest(
        device_id="phone", platform=push.PUSH_PLATFORM_FCM, token="hush", app_version="1", locale="de"
    ),
    "UnregisterDevice": pb.UnregisterDeviceRequest(device_id="phone"),
    "ListDevices": pb.ListDevicesRequest(),
    "SetPushPreferences": pb.SetPushPreferencesRequest(preferences=pb.PushPreferences(quiet_hours=HOURS)),
    "GetPushPreferences": pb.GetPushPreferencesRequest(),
}


@pytest.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as running:
        yield running


async def asked(world: ChatWorld, rpc: str, role: str = "customer", **who: Any) -> Answer:
    user = world.user(who.get("user", "ann"), role, tenant=who.get("tenant", TENANT))
    return await ask(user.channel, METHODS[rpc], REQUESTS[rpc], user.metadata[0][1].removeprefix("Bearer "))


def test_nothing_is_missing() -> None:
    assert METHODS.keys() == REQUESTS.keys()


async def test_a_token_that_is_not_good_opens_nothing(world: ChatWorld) -> None:
    ann = world.user("ann")
    for wrong, token in bad_tokens(world.signer, world.signer._key, TENANT).items():
        for rpc, request in REQUESTS.items():
            answer = await ask(ann.channel, METHODS[rpc], request, token)
            assert (answer.code, answer.reason) == (CODE.UNAUTHENTICATED, "UNAUTHENTICATED"), (wrong, rpc)


async def test_each_role_opens_what_the_table_says(world: ChatWorld) -> None:
    for role in ("customer", "shop", "courier", "service", "admin", "operator", "root", ""):
        for rpc in REQUESTS:
            allowed = role in POLICY[f"/{SERVICE.full_name}/{rpc}"]
            answer = await asked(world, rpc, role, user=f"one-{role}")
            assert answer.code is (CODE.OK if allowed else CODE.PERMISSION_DENIED), (role, rpc, answer)


async def test_devices_are_their_user_s_alone(world: ChatWorld) -> None:
    for rpc in ("RegisterDevice", "SetPushPreferences"):
        assert (await asked(world, rpc)).code is CODE.OK
    for user, tenant, role in (("eve", TENANT, "admin"), ("ann", "other", "customer")):
        assert not (await asked(world, "ListDevices", role, user=user, tenant=tenant)).message.devices
        kept = (await asked(world, "GetPushPreferences", role, user=user, tenant=tenant)).message.preferences
        assert not kept.HasField("quiet_hours")
        await asked(world, "UnregisterDevice", role, user=user, tenant=tenant)
    assert len((await asked(world, "ListDevices")).message.devices) == 1


async def test_nothing_hostile_is_a_defect(world: ChatWorld, capfd: pytest.CaptureFixture[str]) -> None:
    ann = world.user("ann")
    token = ann.metadata[0][1].removeprefix("Bearer ")
    for rpc, good in REQUESTS.items():
        for what, request in hostile(good):
            answer = await ask(ann.channel, METHODS[rpc], request, token)
            assert answer.code in {CODE.OK, CODE.INVALID_ARGUMENT}, (rpc, what, answer)
    assert "unexpected_error" not in capfd.readouterr().err
