"""Runs the push simulator: ``python -m services.push_simulator``, configured by ``TRADEWIND_…`` (see ``config``)."""

from __future__ import annotations

from tradewind.push.v1 import push_gateway_service_pb2, push_inbox_service_pb2

from services.push_simulator.config import PushSettings
from services.push_simulator.inbox import Inbox
from services.push_simulator.policy import POLICY
from services.push_simulator.service import PushGatewayService, PushInboxService
from services.runtime.config import load
from services.runtime.run import run
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator

SERVICE = "push"


async def main(settings: PushSettings) -> None:
    """Serve until told to end, then drain."""
    telemetry = Telemetry.start(SERVICE, settings)
    server = Server(settings, telemetry, Authenticator.from_settings(settings), POLICY)
    inbox = Inbox.open(settings.store_file)
    try:
        gateway, shown = PushGatewayService(inbox), PushInboxService(inbox)
        server.add(push_gateway_service_pb2.DESCRIPTOR.services_by_name["PushGatewayService"], gateway)
        server.add(push_inbox_service_pb2.DESCRIPTOR.services_by_name["PushInboxService"], shown)
        await server.run_until_signal()
    finally:
        await inbox.close()


if __name__ == "__main__":
    run(main(load(PushSettings)))
