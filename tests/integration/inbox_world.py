"""Two whole Chat services on one log and one store, and users who look at their inboxes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tradewind.chat.v1 import chat_pb2, inbox_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.runtime.tokens import Signer
from tests.integration.chat_world import ChatWorld, User, chat_world, request_id

FAST: dict[str, Any] = {"inbox_interval": 0.02}
"""Frames as soon as may be, so that tests wait for nothing."""


@asynccontextmanager
async def two_worlds(nats_url: str, folder: Path, **options: Any) -> AsyncIterator[tuple[ChatWorld, ChatWorld]]:
    """Run Chat twice on a nats-server and a folder."""
    chosen: dict[str, Any] = {"signer": Signer(Ed25519PrivateKey.generate()), **FAST, **options}
    async with chat_world(nats_url, folder, **chosen) as one, chat_world(nats_url, folder, **chosen) as other:
        yield one, other


class Reader:
    """Somebody with an inbox."""

    def __init__(self, user: User) -> None:
        self.user = user
        self._stub = inbox_service_pb2_grpc.InboxServiceStub(user.channel)

    def call(self, method: str, request: Any, **options: Any) -> Any:
        """Call an rpc of the inbox by name."""
        return getattr(self._stub, method)(request, metadata=self.user.metadata, **options)

    async def set(self, method: str, conversation_id: str, **fields: Any) -> pb.InboxEntry:
        """Set a flag."""
        request = getattr(pb, f"{method}Request")(request_id=request_id(), conversation_id=conversation_id, **fields)
        answer: pb.InboxEntry = (await self.call(method, request)).entry
        return answer

    async def list(self, **fields: Any) -> list[pb.InboxEntry]:
        """List all pages."""
        entries: list[pb.InboxEntry] = []
        token = ""
        while True:
            page = await self.call("ListInbox", pb.ListInboxRequest(page_token=token, **fields))
            entries += page.entries
            token = page.next_page_token
            if not token:
                return entries

    async def totals(self) -> pb.UnreadTotals:
        found: pb.UnreadTotals = (await self.call("GetUnreadTotals", pb.GetUnreadTotalsRequest())).totals
        return found

    def watch(self, page_size: int = 0) -> Shown:
        """Open the list."""
        return Shown(self.call("WatchInbox", pb.WatchInboxRequest(page_size=page_size)))


class Shown:
    """A list as its stream tells it."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.entries: dict[str, pb.InboxEntry] = {}
        self.totals = pb.UnreadTotals()
        self.frames = 0
        self.older = ""
        self.going_away: chat.GoingAway | None = None
        self.failures: list[pb.InboxFailure] = []

    @property
    def order(self) -> list[str]:
        """Ids, newest activity first."""
        at = {name: (each.activity_time.seconds, each.activity_time.nanos) for name, each in self.entries.items()}
        return sorted(at, key=lambda name: at[name], reverse=True)

    async def until(self, reached: Callable[[Shown], bool], seconds: float = 60.0) -> None:
        """Read frames until something holds. Raises TimeoutError, AioRpcError."""
        async with asyncio.timeout(seconds):
            while not (self.frames and reached(self)):
                frame = await self.call.read()
                assert frame is not grpc.aio.EOF, "the stream ended"
                self._take(frame)

    def _take(self, frame: pb.WatchInboxResponse) -> None:
        self.frames += 1
        assert frame.whole == (self.frames == 1)
        if frame.whole:
            self.older = frame.older_page_token
        for entry in frame.entries:
            self.entries[entry.conversation_id] = entry
        for name in frame.removed_ids:
            self.entries.pop(name, None)
        self.failures += frame.failures
        if frame.HasField("totals"):
            self.totals = frame.totals
        if frame.HasField("going_away"):
            self.going_away = frame.going_away

    def unread(self, name: str) -> tuple[int, int]:
        """What is unread in a conversation, and how much of it mentions the user; (-1, -1) where it is not in the list."""
        entry = self.entries.get(name)
        return (entry.unread_count, entry.mention_count) if entry is not None else (-1, -1)


async def say(user: User, name: str, text: str = "hi", mentions: Iterable[str] = ()) -> int:
    """Say something, and to whom."""
    message = user.message(name, text)
    if mentions:
        message.content.mentions.CopyFrom(chat_pb2.Mentions(user_ids=mentions))
    return int((await user.call("SendMessage", message)).version)


async def mark(user: User, name: str, read: int) -> None:
    await user.call("MarkMessages", chat.MarkMessagesRequest(conversation_id=name, read_version=read))


async def member(user: User, rpc: str, name: str, *user_ids: str) -> None:
    """Add or remove members."""
    request = getattr(chat, f"{rpc}Request")(request_id=request_id(), conversation_id=name, user_ids=user_ids)
    await user.call(rpc, request)
