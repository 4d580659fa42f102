"""A Chat that pushes, inside a test: a whole Chat service, and a real push gateway beside it whose devices only remember."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tradewind.chat.v1 import device_service_pb2 as pb
from tradewind.chat.v1 import device_service_pb2_grpc
from tradewind.push.v1 import push_gateway_service_pb2, push_inbox_service_pb2
from tradewind.push.v1 import push_gateway_service_pb2 as gateway

from services.push_simulator.config import PushSettings
from services.push_simulator.inbox import Inbox
from services.push_simulator.policy import POLICY
from services.push_simulator.service import PushGatewayService, PushInboxService
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator, make_key_pair
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world
from tests.ports import free_port

SOON = {"push_after": 0.2, "push_every": 0.3, "search": "off"}
"""So that a test need not wait for people's patience."""


class Simulator:
    """The push gateway; it may be taken away and come back on the same port."""

    def __init__(self, folder: Path) -> None:
        self.inbox = Inbox.open(folder / "push.db")
        self.port = free_port()
        self._folder = folder
        self._server: Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        settings = PushSettings(
            listen=self.address,
            auth_public_key_files=(self._folder / "service.pub",),
            reflection=False,
            drain_grace=0.2,
        )
        telemetry = Telemetry.start("push", settings)
        self._server = Server(settings, telemetry, Authenticator.from_settings(settings), POLICY)
        services = push_gateway_service_pb2.DESCRIPTOR.services_by_name
        self._server.add(services["PushGatewayService"], PushGatewayService(self.inbox))
        services = push_inbox_service_pb2.DESCRIPTOR.services_by_name
        self._server.add(services["PushInboxService"], PushInboxService(self.inbox))
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.drain()
            self._server = None

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Nobody reaches it, for a while."""
        await self.stop()
        yield
        await self.start()

    async def came(self, token: str = "", tenant: str = TENANT) -> list[gateway.Notification]:
        """What the devices with a token were shown, oldest first."""
        return [each.notification for each in await self.inbox.list(tenant, token, 0, 1000)]

    async def times(self, token: str = "") -> list[int]:
        """How often each of them came."""
        return [each.times for each in await self.inbox.list(TENANT, token, 0, 1000)]

    async def until(self, token: str, count: int, seconds: float = 60.0) -> list[gateway.Notification]:
        """Wait until so many notifications came to a device."""
        async with asyncio.timeout(seconds):
            while len(found := await self.came(token)) < count:
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def simulator(folder: Path) -> AsyncIterator[Simulator]:
    """Run the push gateway."""
    make_key_pair(folder / "service.pem", folder / "service.pub")
    found = Simulator(folder)
    try:
        await found.start()
        yield found
    finally:
        await found.stop()
        await found.inbox.close()


@asynccontextmanager
async def push_world(nats_url: str, folder: Path, **options: Any) -> AsyncIterator[tuple[ChatWorld, Simulator]]:
    """Run Chat and the push gateway."""
    async with AsyncExitStack() as stack:
        pushed = await stack.enter_async_context(simulator(folder))
        world = await stack.enter_async_context(pushing_chat(nats_url, folder, pushed, **options))
        yield world, pushed


def pushing_chat(nats_url: str, folder: Path, pushed: Simulator, **options: Any) -> Any:
    """Run Chat beside a push gateway that is there."""
    chosen = {**SOON, "push_gateway": pushed.address, "service_key_file": folder / "service.pem", **options}
    return chat_world(nats_url, folder, **chosen)


def devices_of(user: User) -> Any:
    """The stub of a user's devices; calls need its metadata."""
    return device_service_pb2_grpc.DeviceServiceStub(user.channel)


async def register(user: User, token: str, device_id: str = "phone", **fields: Any) -> pb.Device:
    """Give a user a device."""
    request = pb.RegisterDeviceRequest(device_id=device_id, platform=gateway.PUSH_PLATFORM_FCM, token=token, **fields)
    answer: pb.RegisterDeviceResponse = await devices_of(user).RegisterDevice(request, metadata=user.metadata)
    return answer.device


async def prefer(user: User, **fields: Any) -> None:
    """Set a user's preferences."""
    request = pb.SetPushPreferencesRequest(preferences=pb.PushPreferences(**fields))
    await devices_of(user).SetPushPreferences(request, metadata=user.metadata)
