"""Several Chat services on one NATS, and users of presence and typing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
from tradewind.chat.v1 import chat_service_pb2, presence_service_pb2_grpc
from tradewind.chat.v1 import presence_service_pb2 as pb

from services.chat.presence.domain import State
from services.chat.presence.words import Report
from tests.integration.chat_world import TENANT, ChatWorld, chat_world

BEAT = 1.0
"""Seconds. A process is missed after three and a half: a stall of a busy machine that is shorter is none's death."""
ONLINE, AWAY, OFFLINE = pb.PRESENCE_STATE_ONLINE, pb.PRESENCE_STATE_AWAY, pb.PRESENCE_STATE_OFFLINE
UNKNOWN = pb.PRESENCE_STATE_UNKNOWN


async def patiently(ask: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> Any:
    """Call, and again while the answer is that it cannot be now, as every client does."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await ask()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.1)


class Person:
    """Somebody at one of the services."""

    def __init__(self, world: ChatWorld, user_id: str, tenant: str = TENANT) -> None:
        self.id = user_id
        self.tenant = tenant
        self.world = world
        self.user = world.user(user_id, tenant=tenant)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}")
        world._channels.append(channel)
        self.stub: Any = presence_service_pb2_grpc.PresenceServiceStub(channel)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call an rpc of presence by name."""
        return getattr(self.stub, method)(*args, metadata=self.user.metadata, **options)

    async def report(self, state: int, device_id: str = "phone", lease: int = 0) -> pb.ReportPresenceResponse:
        request = pb.ReportPresenceRequest(device_id=device_id, state=state, lease_seconds=lease)  # type: ignore[arg-type]
        answer: pb.ReportPresenceResponse = await patiently(lambda: self.call("ReportPresence", request))
        return answer

    async def report_briefly(self, state: State, seconds: float, device_id: str = "phone") -> None:
        """Report with a lease that is shorter than the contract allows, as nobody waits ten seconds gladly."""
        await self.world.presence.roster.report(Report((self.tenant, self.id), device_id, state, seconds), 30)

    async def get(self, *user_ids: str) -> list[pb.Presence]:
        request = pb.GetPresenceRequest(user_ids=user_ids)
        return list((await patiently(lambda: self.call("GetPresence", request))).presences)

    async def watch(self, user_ids: Iterable[str]) -> Watching:
        call = self.call("WatchPresence")
        wanted = list(user_ids)
        for start in range(0, len(wanted), 2000):
            await call.write(pb.WatchPresenceRequest(add_user_ids=wanted[start : start + 2000]))
        return Watching(call)

    def watch_typing(self, *conversation_ids: str) -> Any:
        return self.call("WatchTyping", pb.WatchTypingRequest(conversation_ids=conversation_ids))

    async def types(self, conversation_id: str, stopped: bool = False) -> None:
        await self.call("SetTyping", pb.SetTypingRequest(conversation_id=conversation_id, stopped=stopped))


class Watching:
    """A WatchPresence stream, and all that it said so far."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.now: dict[str, pb.Presence] = {}
        self.told: list[pb.Presence] = []
        self.frames = 0
        self.completes = 0
        self.going_away: chat_service_pb2.GoingAway | None = None

    def changes(self, user_id: str) -> list[int]:
        """The states that a user was seen in, one after the other; one told again is no change."""
        states = [each.state for each in self.told if each.user_id == user_id]
        return [state for state, _ in groupby(states)]

    async def frame(self) -> bool:
        """Read one frame; False at the end."""
        frame = await self.call.read()
        if frame is grpc.aio.EOF:
            return False
        self.frames += 1
        self.completes += frame.complete
        for presence in frame.presences:
            self.now[presence.user_id] = presence
            if presence.state != UNKNOWN:  # which is no news of the user, and told whenever the machine is slow
                self.told.append(presence)
        if frame.HasField("going_away"):
            self.going_away = frame.going_away
        return True

    async def complete(self, seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not self.completes:
                assert await self.frame()

    async def until(self, user_id: str, state: int, seconds: float = 60.0) -> pb.Presence:
        async with asyncio.timeout(seconds):
            while user_id not in self.now or self.now[user_id].state != state:
                assert await self.frame()
        return self.now[user_id]


@asynccontextmanager
async def services(nats_url: str, folder: Path, count: int = 2, **options: Any) -> AsyncIterator[list[ChatWorld]]:
    """Run so many Chat services on one log and one store, each of which knows that the others are there."""
    async with AsyncExitStack() as stack:
        worlds = [
            await stack.enter_async_context(chat_world(nats_url, folder, **{"presence_beat": BEAT, **options}))
            for _ in range(count)
        ]
        async with asyncio.timeout(60):
            while any(len(world.presence.roster.processes) < count for world in worlds):
                await asyncio.sleep(0.02)
        yield worlds
