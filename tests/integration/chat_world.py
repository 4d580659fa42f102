"""A whole Chat service inside a test: real nats-server, real store, real gRPC, real tokens."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from nats.aio.client import Client
from opentelemetry.metrics import Meter
from pydantic import SecretStr
from tradewind.chat.v1 import chat_pb2, chat_service_pb2_grpc, inbox_service_pb2, presence_service_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat.attachments.house import House
from services.chat.config import ChatSettings
from services.chat.inbox.service import InboxService
from services.chat.kinds import KINDS, SLICED
from services.chat.messaging import Messaging
from services.chat.policy import POLICY
from services.chat.presence.service import PresenceService
from services.chat.serving import serving
from services.ledger.archive import Archive
from services.ledger.clock import SYSTEM, Clock
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings
from services.runtime import nats
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator, Signer
from tests.tally import open_archive

TENANT = "acme"


def request_id() -> str:
    """Make a UUIDv7 (RFC 9562) of now."""
    number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Give the reason that a refused call carries."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return reason_in(status_pb2.Status.FromString(value))
    return ""


def facts_of(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """Give the reason and the metadata that a refused call carries."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return facts_in(status_pb2.Status.FromString(details))


def facts_in(status: status_pb2.Status) -> tuple[str, dict[str, str]]:
    """Give the reason and the metadata that a status carries."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason), dict(info.metadata)
    return "", {}


def reason_in(status: status_pb2.Status) -> str:
    """Give the reason that a status carries."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return ""


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Await a call that must be refused, and give its code and reason."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), reason_of(error)
    raise AssertionError("the call was not refused")


def unpacked(news: any_pb2.Any) -> Any:
    """Give the frame that a stream's news is."""
    frames = (inbox_service_pb2.WatchInboxResponse, presence_service_pb2.WatchPresenceResponse)
    for made in (*frames, presence_service_pb2.WatchTypingResponse):
        frame = made()
        if news.Unpack(frame):
            return frame
    raise AssertionError(f"nobody knows {news.type_url}")


class User:
    """Somebody with a token."""

    def __init__(self, channel: grpc.aio.Channel, token: str, user_id: str) -> None:
        self.id = user_id
        self.channel = channel
        self.metadata = (("authorization", f"Bearer {token}"),)
        self._stub = chat_service_pb2_grpc.ChatServiceStub(channel)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call an rpc by name."""
        return getattr(self._stub, method)(*args, metadata=self.metadata, **options)

    async def create_group(self, *member_ids: str, title: str = "") -> chat_pb2.Conversation:
        request = pb.CreateConversationRequest(
            request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP, member_ids=member_ids, title=title
        )
        made: chat_pb2.Conversation = (await self.call("CreateConversation", request)).conversation
        return made

    async def send(self, conversation_id: str, text: str) -> int:
        return int((await self.call("SendMessage", self.message(conversation_id, text))).version)

    def message(self, conversation_id: str, text: str, **fields: Any) -> pb.SendMessageRequest:
        content = chat_pb2.MessageContent(text=text)
        return pb.SendMessageRequest(
            request_id=request_id(), conversation_id=conversation_id, content=content, **fields
        )

    def watch(self, conversation_id: str, after: int = 0) -> Any:
        return self.call("Watch", pb.WatchRequest(conversation_id=conversation_id, after_version=after))

    def converse(self) -> Talk:
        return Talk(self.call("Converse"))


class Talk:
    """A Converse stream, and all that it said so far."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.results: dict[str, pb.SendResult] = {}
        self.events: dict[str, list[chat_pb2.ConversationEvent]] = {}
        self.ended: dict[str, str] = {}
        self.done: dict[int, pb.OperationResult] = {}
        self.news: list[Any] = []
        self.news_ended: dict[pb.News.ValueType, str] = {}
        self.heartbeats = 0
        self.going_away: pb.GoingAway | None = None
        self.over = False

    async def write(
        self,
        *sends: pb.SendMessageRequest,
        subscribe: dict[str, int] | None = None,
        unsubscribe: Iterable[str] = (),
        operations: Iterable[pb.Operation] = (),
        flow: pb.Flow | None = None,
        **news: Any,
    ) -> None:
        frame = pb.ConverseRequest(
            **news,
            sends=sends,
            operations=operations,
            flow=flow,
            subscribe=[
                pb.Subscribe(conversation_id=name, after_version=after) for name, after in (subscribe or {}).items()
            ],
            unsubscribe=[pb.Unsubscribe(conversation_id=name) for name in unsubscribe],
        )
        await self.call.write(frame)

    async def until(self, reached: Callable[[Talk], bool], seconds: float = 60.0) -> None:
        """Read frames until something holds, or the stream ends."""
        async with asyncio.timeout(seconds):
            while not reached(self) and not self.over:
                frame = await self.call.read()
                if frame is grpc.aio.EOF:
                    self.over = True
                else:
                    self._take(frame)
        assert reached(self)

    def _take(self, frame: pb.ConverseResponse) -> None:
        for result in frame.results:
            assert result.request_id not in self.results, "a send was answered twice"
            self.results[result.request_id] = result
        for done in frame.operation_results:
            assert done.operation_id not in self.done, "an operation was answered twice"
            self.done[done.operation_id] = done
        self.heartbeats += frame.HasField("heartbeat")
        self.news.extend(unpacked(each) for each in frame.news)
        self.news_ended.update({each.news: reason_in(each.error) for each in frame.news_ended})
        for delivery in frame.deliveries:
            self.events.setdefault(delivery.conversation_id, []).extend(delivery.events)
        for gone in frame.ended:
            self.ended[gone.conversation_id] = reason_in(gone.error)
        if frame.HasField("going_away"):
            self.going_away = frame.going_away

    def versions(self, conversation_id: str) -> list[int]:
        return [event.version for event in self.events.get(conversation_id, [])]


class ChatWorld:
    """The service, and users of it."""

    presence: PresenceService
    inbox: InboxService
    attachments: House
    messaging: Messaging

    def __init__(
        self,
        server: Server,
        ledger: Ledger,
        client: Client,
        signer: Signer,
        telemetry: Telemetry,
        settings: ChatSettings,
        archive: Archive,
    ) -> None:
        self.archive = archive
        self.server, self.ledger, self.client, self.telemetry = server, ledger, client, telemetry
        self.settings = settings
        self.signer = signer
        self._channels: list[grpc.aio.Channel] = []

    def user(self, user_id: str, *roles: str, tenant: str = TENANT, options: Any = (), on_behalf_of: str = "") -> User:
        """Let somebody in, on a connection of its own."""
        channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{self.server.port}", options=[("grpc.use_local_subchannel_pool", 1), *options]
        )
        self._channels.append(channel)
        if on_behalf_of:
            token = self.signer.mint(on_behalf_of, tenant, roles, actor=user_id)
        else:
            token = self.signer.mint(user_id, tenant, roles or ("customer",))
        return User(channel, token, user_id)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


def key_file(folder: Path) -> Path:
    """Make the deployment's key in a folder, where it is not there yet."""
    file = folder / "persons.key"
    if not file.exists():
        file.write_text(secrets.token_hex(32))
    return file


@asynccontextmanager
async def chat_world(
    nats_url: str,
    folder: Path,
    *,
    signer: Signer | None = None,
    clock: Clock = SYSTEM,
    meter: Meter | None = None,
    **options: Any,
) -> AsyncIterator[ChatWorld]:
    """Run Chat on a nats-server and a folder; started again on both it goes on where it was. Worlds of one signer take the same tokens.

    ``clock`` is the ledger's; ``meter`` counts what Chat's parts count.
    """
    chosen = {
        "listen": "127.0.0.1:0",
        "rate_limit": 0,
        "tenant_rate_limit": 0,
        "user_message_rate": 0,
        "conversation_message_rate": 0,
        "drain_grace": 5.0,
        "reflection": False,
        "search": "off",
        "store_file": folder / "chat.db",
        "log_partitions": 2,
        "person_key_file": key_file(folder),
        **options,
    }
    settings = ChatSettings(nats_urls=(SecretStr(nats_url),), **chosen)
    telemetry = Telemetry.start("chat", settings)
    telemetry.meter = meter or telemetry.meter
    signer = signer or Signer(Ed25519PrivateKey.generate())
    client = await nats.connect(settings, "chat-test")
    archive = await open_archive(folder / "chat.db", SLICED)
    ledger = await Ledger.open(client, archive, telemetry, LogSettings("chat", partitions=2), KINDS, clock=clock)
    server = Server(settings, telemetry, Authenticator([signer.public_key]), POLICY)
    async with AsyncExitStack() as parts:
        chat = await parts.enter_async_context(serving(server, ledger, client, telemetry, settings))
        await server.start()
        world = ChatWorld(server, ledger, client, signer, telemetry, settings, archive)
        world.presence, world.inbox, world.attachments = chat.presence, chat.inbox, chat.attachments
        world.messaging = chat.service.messaging
        try:
            yield world
        finally:
            await server.drain()
            await world.close()
            await parts.aclose()
            await ledger.close()
            await archive.close()
            await client.close()


async def watched(call: Any, count: int, seconds: float = 60.0) -> list[chat_pb2.ConversationEvent]:
    """Read a Watch stream until it gave so many events."""
    events: list[chat_pb2.ConversationEvent] = []
    async with asyncio.timeout(seconds):
        while len(events) < count:
            frame = await call.read()
            assert isinstance(frame, pb.WatchResponse), "the stream ended"
            events.extend(frame.events)
    return events
