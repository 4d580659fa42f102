"""Push as a part of a Chat process: devices are always kept; members are told where a gateway is set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from opentelemetry.metrics import Meter
from tradewind.chat.v1 import device_service_pb2

from services.chat import metrics
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.push.gateway import Gateway
from services.chat.push.kinds import ROUNDS
from services.chat.push.presence import Presence
from services.chat.push.round import RequireGood, Round
from services.chat.push.service import DeviceService
from services.chat.push.worker import PushWorker
from services.chat.timers import Wake
from services.ledger.ledger import Ledger
from services.runtime.channel import service_channel
from services.runtime.server import Server


@asynccontextmanager
async def pushing(
    server: Server,
    ledger: Ledger,
    settings: ChatSettings,
    contents: Contents,
    presence: Presence,
    require_good: RequireGood,
    meter: Meter,
) -> AsyncIterator[Mapping[str, Wake]]:
    """Serve devices and tell members; gives who is to be woken by which timers. Raises services.runtime.tokens.BadKey.

    ``require_good`` refuses whom the tenant has banned.
    """
    server.add(device_service_pb2.DESCRIPTOR.services_by_name["DeviceService"], DeviceService(ledger))
    if settings.push_gateway is None:
        yield {}
        return
    # A call whose answer was lost is repeated by the next round, and not by the channel behind its back.
    async with service_channel(settings, settings.push_gateway, "chat", retries=False) as channel:
        round_ = Round(ledger, contents, Gateway(channel, meter), presence, require_good, settings)
        worker = PushWorker(ledger, round_, settings)
        worker.start()
        metrics.push(meter, worker)
        yield {ROUNDS.name: worker.on_timer}
