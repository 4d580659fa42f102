"""Puts moderation before all that a server serves, and among it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tradewind.chat.v1 import moderation_service_pb2

from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.moderation.bans import Bans
from services.chat.moderation.service import ModerationService
from services.chat.whispers import Whispers
from services.ledger.ledger import Ledger
from services.runtime.server import Server


@asynccontextmanager
async def moderating(
    server: Server, ledger: Ledger, settings: ChatSettings, whispers: Whispers, contents: Contents
) -> AsyncIterator[Bans]:
    """Serve ``ModerationService``, turn away who is banned, and do what was decided; gives who is banned."""
    bans = Bans(ledger, whispers)
    try:
        server.admit_by(bans)
        service = ModerationService(ledger, settings, whispers, contents, bans)
        service.resolving.start()
        server.add(moderation_service_pb2.DESCRIPTOR.services_by_name["ModerationService"], service)
        yield bans
    finally:
        await bans.close()
