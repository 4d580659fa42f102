"""All of Chat on one ledger and one server: its subjects, each with what it stands on and what works in the background."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from nats.aio.client import Client
from opentelemetry.metrics import Meter
from tradewind.chat.v1 import bot_service_pb2, chat_service_pb2, presence_service_pb2, search_service_pb2

from services.chat import metrics
from services.chat.attachments.house import House, attachments
from services.chat.bots.service import BotService
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.inbox.service import InboxService, serve_inbox
from services.chat.moderation.serving import moderating
from services.chat.news import Sources
from services.chat.presence.service import PresenceService
from services.chat.privacy.serving import serve_privacy
from services.chat.privacy.upkeep import private
from services.chat.push.here import OnlineIsHere
from services.chat.push.serving import pushing
from services.chat.search.running import folder_of, searching
from services.chat.search.service import SearchService
from services.chat.service import ChatService
from services.chat.timed import timed
from services.chat.whispers import Whispers
from services.ledger.ledger import Ledger
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry


@dataclass(frozen=True)
class Chat:
    """The parts of a Chat that is served."""

    service: ChatService
    presence: PresenceService
    inbox: InboxService
    attachments: House
    search: SearchService | None


@asynccontextmanager
async def serving(
    server: Server, ledger: Ledger, client: Client, telemetry: Telemetry, settings: ChatSettings
) -> AsyncIterator[Chat]:
    """Serve all of Chat's rpcs on ``server`` until left; the server itself is started and drained by who calls.

    Raises:
        Unstartable: a key or an address cannot be used.
    """
    async with AsyncExitStack() as parts:
        whispers, meter = Whispers(client), telemetry.meter
        contents = await parts.enter_async_context(private(ledger, settings.person_key_file, whispers))
        moderation = await parts.enter_async_context(moderating(server, ledger, settings, whispers, contents, meter))
        presence = await parts.enter_async_context(PresenceService(ledger, client, whispers, settings))
        server.add(presence_service_pb2.DESCRIPTOR.services_by_name["PresenceService"], presence)
        inbox = serve_inbox(server, ledger, settings, contents, whispers)
        chat = ChatService(ledger, settings, contents, moderation.reviewer, Sources(presence, inbox))
        chat.messaging.pace.metered(meter)
        chat.messaging.online = presence.online
        server.add(chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"], chat)
        moderation.bans.on_banned(presence.banned)
        online, good = OnlineIsHere(presence.roster), moderation.bans.require_good
        push = pushing(server, ledger, settings, contents, online, good, meter)
        wakes = await parts.enter_async_context(push)
        await parts.enter_async_context(timed(server, ledger, chat.messaging, telemetry, wakes))
        search = await _search(parts, server, ledger, contents, settings, meter)
        files = await parts.enter_async_context(attachments(server, ledger, settings, contents.keys))
        metrics.presence(meter, presence, whispers)
        metrics.attachments(meter, files.transfers, files.collector)
        serve_privacy(server, ledger, contents, whispers, files.vault, search)
        bots = BotService(ledger, settings, whispers, contents)
        server.add(bot_service_pb2.DESCRIPTOR.services_by_name["BotService"], bots)
        yield Chat(chat, presence, inbox, files, search)


async def _search(
    parts: AsyncExitStack,
    server: Server,
    ledger: Ledger,
    contents: Contents,
    settings: ChatSettings,
    meter: Meter,
) -> SearchService | None:
    if settings.search == "off":
        return None
    follows = settings.search == "embedded"
    work = searching(ledger, contents, folder_of(settings), settings.log_partitions, follows=follows, meter=meter)
    search = await parts.enter_async_context(work)
    server.add(search_service_pb2.DESCRIPTOR.services_by_name["SearchService"], search)
    return search
