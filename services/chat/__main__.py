"""Runs the Chat service: ``python -m services.chat``, configured by ``TRADEWIND_…`` (see ``config``)."""

from __future__ import annotations

from tradewind.chat.v1 import chat_service_pb2

from services.chat.config import ChatSettings
from services.chat.kinds import CONVERSATION
from services.chat.policy import POLICY
from services.chat.service import ChatService
from services.chat.worker import OrderWorker
from services.ledger.epoch import LogSettings
from services.ledger.ledger import Ledger
from services.ledger.sqlite import SqliteArchive
from services.runtime import nats
from services.runtime.config import load
from services.runtime.run import run
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator

SERVICE = "chat"


async def main(settings: ChatSettings) -> None:
    """Serve until told to end, then drain."""
    telemetry = Telemetry.start(SERVICE, settings)
    authenticator = Authenticator.from_files(
        settings.auth_public_key_files,
        issuer=settings.auth_issuer,
        audience=settings.auth_audience,
        leeway=settings.auth_leeway,
    )
    client = await nats.connect(settings, SERVICE)
    archive = SqliteArchive.open(settings.store_file)
    try:
        log = LogSettings(
            SERVICE,
            partitions=settings.log_partitions,
            replicas=settings.log_replicas,
            exclusive=settings.log_exclusive,
        )
        ledger = await Ledger.open(client, archive, telemetry, log, [CONVERSATION])
        try:
            if settings.order_events:
                OrderWorker(ledger, telemetry).start()
            server = Server(settings, telemetry, authenticator, POLICY)
            server.add(chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"], ChatService(ledger, settings))
            await server.run_until_signal()
        finally:
            await ledger.close()
    finally:
        await archive.close()
        await client.close()


if __name__ == "__main__":
    run(main(load(ChatSettings)))
