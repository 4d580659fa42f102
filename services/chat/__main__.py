"""Runs the Chat service: ``python -m services.chat``, configured by ``TRADEWIND_…`` (see ``config``)."""

from __future__ import annotations

from contextlib import AsyncExitStack

from tradewind.chat.v1 import bot_service_pb2, chat_service_pb2, presence_service_pb2, search_service_pb2

from services.chat.attachments.house import attachments
from services.chat.bots.service import BotService
from services.chat.config import ChatSettings
from services.chat.inbox.service import serve_inbox
from services.chat.kinds import KINDS, SLICED
from services.chat.moderation.serving import moderating
from services.chat.policy import POLICY
from services.chat.presence.service import PresenceService
from services.chat.privacy.serving import serve_privacy
from services.chat.privacy.upkeep import private
from services.chat.push.here import OnlineIsHere
from services.chat.push.serving import pushing
from services.chat.search.running import folder_of, searching
from services.chat.service import ChatService
from services.chat.timed import timed
from services.chat.whispers import Whispers
from services.chat.worker import OrderWorker
from services.host import host
from services.runtime.config import load
from services.runtime.run import run


async def main(settings: ChatSettings) -> None:
    """Serve until told to end, then drain."""
    async with host("chat", settings, KINDS, POLICY, sliced=SLICED) as here, AsyncExitStack() as parts:
        whispers = Whispers(here.nats)
        contents = await parts.enter_async_context(private(here.ledger, settings.person_key_file, whispers))
        moderation = await parts.enter_async_context(moderating(here.server, here.ledger, settings, whispers, contents))
        if settings.order_events:
            OrderWorker(here.ledger, here.telemetry).start()
        chat = ChatService(here.ledger, settings, contents, moderation.reviewer)
        here.server.add(chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"], chat)
        chat.messaging.pace.metered(here.telemetry.meter)
        here.sharing.add(chat.messaging.pace.limiters)
        presence = PresenceService(here.ledger, here.nats, whispers, settings)
        await parts.enter_async_context(presence)
        here.server.add(presence_service_pb2.DESCRIPTOR.services_by_name["PresenceService"], presence)
        online = OnlineIsHere(presence.roster)
        good, meter = moderation.bans.require_good, here.telemetry.meter
        push = pushing(here.server, here.ledger, settings, contents, online, good, meter)
        wakes = await parts.enter_async_context(push)
        await parts.enter_async_context(timed(here.server, here.ledger, chat.messaging, here.telemetry, wakes))
        search = None
        if settings.search != "off":
            work = searching(
                here.ledger,
                contents,
                folder_of(settings),
                settings.log_partitions,
                follows=settings.search == "embedded",
            )
            search = await parts.enter_async_context(work)
            here.server.add(search_service_pb2.DESCRIPTOR.services_by_name["SearchService"], search)
        serve_inbox(here.server, here.ledger, settings, contents, whispers)
        house = await parts.enter_async_context(attachments(here.server, here.ledger, settings))
        serve_privacy(here.server, here.ledger, contents, whispers, house.vault, search)
        bots = BotService(here.ledger, settings, whispers, contents)
        here.server.add(bot_service_pb2.DESCRIPTOR.services_by_name["BotService"], bots)
        await here.server.run_until_signal()


if __name__ == "__main__":
    run(main(load(ChatSettings)))
