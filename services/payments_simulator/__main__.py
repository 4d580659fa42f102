"""Runs the payment simulator: ``python -m services.payments_simulator``, configured by ``TRADEWIND_…`` (see ``config``)."""

from __future__ import annotations

from tradewind.payment.v1 import payment_gateway_service_pb2

from services.payments_simulator.book import Book
from services.payments_simulator.config import PaymentsSettings
from services.payments_simulator.policy import POLICY
from services.payments_simulator.service import PaymentGatewayService
from services.runtime.config import load
from services.runtime.run import run
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator

SERVICE = "payments"


async def main(settings: PaymentsSettings) -> None:
    """Serve until told to end, then drain."""
    telemetry = Telemetry.start(SERVICE, settings)
    server = Server(settings, telemetry, Authenticator.from_settings(settings), POLICY)
    book = Book.open(settings.store_file)
    gateway = PaymentGatewayService(book)
    try:
        server.add(payment_gateway_service_pb2.DESCRIPTOR.services_by_name["PaymentGatewayService"], gateway)
        await server.run_until_signal()
    finally:
        await gateway.close()
        await book.close()


if __name__ == "__main__":
    run(main(load(PaymentsSettings)))
