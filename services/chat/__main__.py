"""Runs the Chat service: ``python -m services.chat``, configured by ``TRADEWIND_…`` (see ``config``)."""

from __future__ import annotations

from services.chat.config import ChatSettings
from services.chat.kinds import KINDS, SLICED
from services.chat.policy import POLICY
from services.chat.serving import serving
from services.chat.worker import OrderWorker
from services.host import host
from services.runtime.config import load
from services.runtime.run import run


async def main(settings: ChatSettings) -> None:
    """Serve until told to end, then drain."""
    async with (
        host("chat", settings, KINDS, POLICY, sliced=SLICED) as here,
        serving(here.server, here.ledger, here.nats, here.telemetry, settings) as chat,
    ):
        here.sharing.add(chat.service.messaging.pace.limiters)
        if settings.order_events:
            OrderWorker(here.ledger, here.telemetry).start()
        await here.server.run_until_signal()


if __name__ == "__main__":
    run(main(load(ChatSettings)))
