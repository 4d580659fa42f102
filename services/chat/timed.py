"""What Chat does in time: invitations that end, messages that are sent later, messages that do not last. Served and woken here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tradewind.chat.v1 import invitation_service_pb2, schedule_service_pb2

from services.chat.commands import KIND
from services.chat.expiry.arming import Arming
from services.chat.expiry.sweeping import Sweeping
from services.chat.invitations.service import InvitationService
from services.chat.kinds import KINDS
from services.chat.lookups import Lookups
from services.chat.messaging import Messaging
from services.chat.scheduling import sending
from services.chat.scheduling.service import ScheduleService
from services.chat.timers import TimerWorker, Wake
from services.ledger.ending import end
from services.ledger.lasting import keep_up
from services.ledger.ledger import Ledger
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry


@asynccontextmanager
async def timed(
    server: Server, ledger: Ledger, messaging: Messaging, telemetry: Telemetry, wakes: Mapping[str, Wake]
) -> AsyncIterator[None]:
    """Serve invitations and scheduled messages, and take due timers, also those of ``wakes``, until left."""
    invitations = InvitationService(ledger)
    server.add(invitation_service_pb2.DESCRIPTOR.services_by_name["InvitationService"], invitations)
    carrier = sending.Sending(ledger, messaging, telemetry)
    schedules = ScheduleService(ledger, messaging, carrier)
    server.add(schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"], schedules)
    arming = Arming(ledger)
    tasks = [
        asyncio.create_task(keep_up("arming", arming.run), name="arming"),
        asyncio.create_task(keep_up("arm-again", arming.catch_up), name="arm-again"),
    ]
    carrier.start()
    own = {sending.KIND: carrier.wake, KIND: Sweeping(ledger, Lookups(ledger)).wake}
    dues = {kind.name: kind.timers for kind in KINDS}
    TimerWorker(ledger, {**wakes, **own}, dues, telemetry.meter).start()
    try:
        yield
    finally:
        await end(tasks)
