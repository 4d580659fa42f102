"""Puts moderation before all that a server serves, and among it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from opentelemetry.metrics import Meter
from tradewind.chat.v1 import moderation_service_pb2

from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.moderation.bans import Bans
from services.chat.moderation.review import Reviewer
from services.chat.moderation.service import ModerationService
from services.chat.whispers import Whispers
from services.ledger.ledger import Ledger
from services.runtime.server import Server


class Moderation(NamedTuple):
    """What the rest of Chat asks: who is banned, and what tenants say of a message."""

    bans: Bans
    reviewer: Reviewer


@asynccontextmanager
async def moderating(
    server: Server, ledger: Ledger, settings: ChatSettings, whispers: Whispers, contents: Contents, meter: Meter
) -> AsyncIterator[Moderation]:
    """Serve ``ModerationService``, turn away who is banned, do what was decided, and ask the hooks of tenants."""
    bans = Bans(ledger, whispers)
    reviewer = Reviewer(settings.message_hooks, bans, meter)
    try:
        server.admit_by(bans)
        service = ModerationService(ledger, settings, whispers, contents, bans)
        service.resolving.start()
        server.add(moderation_service_pb2.DESCRIPTOR.services_by_name["ModerationService"], service)
        yield Moderation(bans, reviewer)
    finally:
        await reviewer.close()
        await bans.close()
