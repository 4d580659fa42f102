"""What wakes Mail: its own log (mails to deliver), timers (attempts due), and Order's log (customers to write to)."""

from __future__ import annotations

from typing import Final

from tradewind.order.v1 import order_pb2

from services.ledger.decider import Delivered, Recorded, Request
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from services.mail import wire
from services.mail.delivery import Delivery
from services.mail.domain import Mailbox, Queued, Refused
from services.mail.kinds import KIND, new_mail
from services.mail.orders import told
from services.mail.smtp.message import BadAddress, check_address
from services.mail.taking import Desk, Wanted
from services.runtime.telemetry import Telemetry

DELIVERY_ROLE: Final = "delivery"
ORDERS_ROLE: Final = "mail-orders"
ORDER: Final = "order"


class DeliveryWorker:
    """Has queued mails delivered. A mail in work keeps its place in the log, or a timer, whichever process dies."""

    def __init__(self, ledger: Ledger, delivery: Delivery) -> None:
        """Wake ``delivery``."""
        self._ledger = ledger
        self._delivery = delivery

    def start(self) -> None:
        """Begin to consume the own log and timers, together with all other Mail processes."""
        self._ledger.consume(role=DELIVERY_ROLE, handle=self.handle)
        self._ledger.on_timer(self.due)

    async def handle(self, delivered: Delivered) -> None:
        """Take one stored entry of the own log. Raises LedgerError; the entry then comes again."""
        first = delivered.events[0]
        if delivered.aggregate.kind != KIND or first.version != 1:
            return
        queued = wire.decode(first.payload)
        if isinstance(queued, Queued):
            # Handed over once more: somebody may have been at it already, so the state is asked for afresh.
            await self._delivery.wake(
                delivered.aggregate, None if delivered.tries else queued, delivered.traceparent or first.traceparent
            )

    async def due(self, aggregate: AggregateId, _timer: str) -> None:
        """Take a due timer. Raises LedgerError; the timer then comes again."""
        await self._delivery.wake(aggregate)


class OrderWorker:
    """Writes to the customers of orders. A mail is named after the event it tells of, so an event that comes again changes nothing."""

    def __init__(self, ledger: Ledger, desk: Desk, telemetry: Telemetry) -> None:
        """Queue mails in ``ledger``."""
        self._ledger = ledger
        self._desk = desk
        self._telemetry = telemetry

    def start(self) -> None:
        """Begin to consume Order's log, together with all other Mail processes."""
        self._ledger.consume(role=ORDERS_ROLE, handle=self.handle, source=ORDER, kind="order")

    async def handle(self, delivered: Delivered) -> None:
        """Take one stored entry of Order's log. Raises what the ledger refuses; the entry then comes again."""
        if delivered.aggregate.kind != ORDER:
            return
        for recorded in delivered.events:
            event = order_pb2.OrderEvent.FromString(recorded.payload)
            parent = delivered.traceparent or recorded.traceparent or None
            await self._tell(delivered.aggregate, event, recorded, parent)

    async def _tell(
        self, order: AggregateId, event: order_pb2.OrderEvent, recorded: Recorded, parent: str | None
    ) -> None:
        news = told(event)
        if news is None or not _writable(news.address):
            return
        happened_us = wire.micros(event.event_time)
        name = derive_request_id(happened_us, order.key, str(recorded.version), news.template)
        aggregate = new_mail(order.tenant, ORDER, name)
        with self._telemetry.span("mail.tell_order_step", parent) as span:
            span.set("mail.template", news.template)
            wanted = Wanted(
                recipient=Mailbox(news.address, news.name),
                template=news.template,
                variables=news.variables,
                tracked=news.tracked,
                attributes={"order_id": order.id},
            )
            command = self._desk.command(aggregate, wanted, span.traceparent)
            # The content is a function of the event; times and templates may be others when it comes again.
            request = Request(name, fingerprint(order.key, recorded.version), span.traceparent)
            try:
                await self._ledger.execute(aggregate, command, request)
            except Refused as refused:
                if refused.reason != "ALREADY_EXISTS":
                    raise


def _writable(address: str) -> bool:
    """Tell whether an address that a customer gave is one; an order stands without a mail."""
    try:
        check_address(Mailbox(address))
    except BadAddress:
        return False
    return True
