"""Runs the Order service: ``python -m services.order``, configured by ``TRADEWIND_…`` (see ``config``)."""

from __future__ import annotations

from tradewind.order.v1 import order_service_pb2

from services.host import host
from services.order.config import OrderSettings
from services.order.gateway import Gateway
from services.order.kinds import KINDS
from services.order.policy import POLICY
from services.order.projections import SLICED
from services.order.service import OrderService
from services.order.stockroom import Stockroom
from services.order.worker import Saga
from services.runtime.channel import service_channel
from services.runtime.config import load
from services.runtime.run import run


async def main(settings: OrderSettings) -> None:
    """Serve until told to end, then drain."""
    async with (
        # An answer that was lost is looked up by the saga; the channel must not ask again behind its back.
        service_channel(settings, settings.payment_gateway, "order", retries=False) as channel,
        host("order", settings, KINDS, POLICY, sliced=SLICED) as here,
    ):
        stockroom = Stockroom(here.ledger, settings.reservation_lives)
        Saga(here.ledger, stockroom, Gateway(channel), here.telemetry).start()
        service = OrderService(here.ledger, settings)
        here.server.add(order_service_pb2.DESCRIPTOR.services_by_name["OrderService"], service)
        await here.server.run_until_signal()


if __name__ == "__main__":
    run(main(load(OrderSettings)))
