"""Devices and quiet hours by the client and the command line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tradewind.chat.v1 import device_service_pb2 as pb
from tradewind.push.v1 import push_gateway_service_pb2 as push
from tradewind.sdk import Client, InvalidArgument

from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.servers import NatsServer


async def tradewind(world: ChatWorld, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """Run the command line as ann; what it prints, none where it fails."""
    token = world.signer.mint("ann", TENANT, ("customer",))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tradewind.cli", "--json", "--endpoint", f"127.0.0.1:{world.server.port}"),
        *("--token", token, "chat", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    out, _ = await process.communicate()
    return [json.loads(line) for line in out.splitlines()] if process.returncode == 0 else []


async def test_devices_by_client_and_command_line(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        token = world.signer.mint("ann", TENANT, ("customer",))
        async with Client(f"127.0.0.1:{world.server.port}", token) as ann, asyncio.timeout(60):
            registered = await ann.chat.register_device("tablet", "t-1", push.PUSH_PLATFORM_APNS, app_version="7")
            assert (registered.device_id, registered.app_version) == ("tablet", "7")
            (shown,) = await tradewind(
                world, "register-device", "phone", "--locale", "de", TRADEWIND_DEVICE_TOKEN="t-2"
            )
            assert shown["locale"] == "de"
            assert [device.device_id for device in await ann.chat.list_devices()] == ["phone", "tablet"]
            listed = await tradewind(world, "devices")
            assert [each["device_id"] for each in listed] == ["phone", "tablet"]
            assert "t-2" not in json.dumps(listed)
            await ann.chat.unregister_device("tablet")
            await tradewind(world, "unregister-device", "phone")
            assert await ann.chat.list_devices() == []

            await tradewind(world, "quiet-hours", "22:00-7:30", "--zone", "Europe/Berlin")
            await tradewind(world, "push-preferences", "--mentions-only", "--no-previews")
            kept = await ann.chat.get_push_preferences()
            hours = pb.QuietHours(start_minute=1320, end_minute=450, time_zone="Europe/Berlin")
            assert kept == pb.PushPreferences(quiet_hours=hours, mentions_only=True, hide_previews=True)
            assert await tradewind(world, "quiet-hours", "late") == []
            await tradewind(world, "quiet-hours", "off")
            kept = await ann.chat.get_push_preferences()
            assert kept == pb.PushPreferences(mentions_only=True, hide_previews=True)
            hours.time_zone = "Nowhere"
            with pytest.raises(InvalidArgument):
                await ann.chat.set_push_preferences(pb.PushPreferences(quiet_hours=hours))
