"""Orders come to Chat: each has a conversation of customer, shop and courier, in which its steps are told.

Order's events are handed over at least once, and those of one order in order. Every command made of one is named after it,
so an event that comes again finds what it did the first time and changes nothing; a process that dies between two commands
has the rest done when the event comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from tradewind.order.v1 import order_pb2

from services.chat import commands, domain
from services.ledger.decider import Delivered, Recorded, Request
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from services.runtime.telemetry import Telemetry

ROLE: Final = "chat-orders"
SOURCE: Final = "order"
SERVICE: Final = "chat"
_ORDER: Final = "order"

_TEXTS: Final = {
    "confirmed": "The order is confirmed.",
    "accepted": "The shop has accepted the order.",
    "dispatched": "The order is on its way.",
    "delivered": "The order has been delivered.",
    "completed": "The order is paid and complete.",
    "rejected": "The order could not be taken.",
    "cancelled": "The order was cancelled.",
}
"""Which events are told, and how; the code is "order." and the event's name."""


def conversation_id(order_id: str) -> str:
    """Name the conversation of an order."""
    return f"order-{order_id}"


class OrderWorker:
    """Turns Order's events into conversations."""

    def __init__(self, ledger: Ledger, telemetry: Telemetry) -> None:
        """Write into ``ledger``."""
        self._ledger = ledger
        self._telemetry = telemetry

    def start(self) -> None:
        """Begin to consume Order's log, durably and with all other Chat processes together."""
        self._ledger.consume(role=ROLE, handle=self.handle, source=SOURCE, kind="order")

    async def handle(self, delivered: Delivered) -> None:
        """Take one stored entry of Order's log. Raises what the ledger refuses; the entry then comes again."""
        if delivered.aggregate.kind != _ORDER:
            return
        order_id = delivered.aggregate.id
        target = AggregateId(delivered.aggregate.tenant, commands.KIND, conversation_id(order_id))
        for recorded in delivered.events:
            event = order_pb2.OrderEvent.FromString(recorded.payload)
            which = event.WhichOneof("event")
            if which not in _TEXTS:
                continue
            parent = delivered.traceparent or recorded.traceparent or None
            with self._telemetry.span("chat.tell_order_step", parent=parent) as span:
                span.set("order.step", which)
                await self._tell(target, order_id, event, which, recorded, span.traceparent)

    async def _tell(
        self,
        target: AggregateId,
        order_id: str,
        event: order_pb2.OrderEvent,
        which: str,
        recorded: Recorded,
        traceparent: str | None,
    ) -> None:
        """Do all that one event asks for: its commands go in together, in order, and are one append where nothing else is."""
        happened_us = event.event_time.seconds * 1_000_000 + event.event_time.nanos // 1000
        futures = []
        for step, command in _commands(order_id, event, which):
            name = derive_request_id(
                happened_us, target.tenant, order_id, str(recorded.version), type(command).__name__, str(step)
            )
            named = Request(name, fingerprint(_ORDER, order_id, recorded.version, step), traceparent)
            futures.append(self._ledger.submit(target, command, named))
        results = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, domain.Refused) and result.reason == "BANNED":
                continue  # whom the conversation keeps out is not brought back
            if isinstance(result, BaseException):
                raise result


def _commands(
    order_id: str, event: order_pb2.OrderEvent, which: str
) -> Iterator[tuple[int, domain.CreateConversation | domain.AddMembers | domain.PostSystemMessage]]:
    """Give what an order's event leads to: the conversation where it may be the first, the courier once named, and the word."""
    now = commands.now_us()
    attributes = {"order_id": order_id}
    order = _order_of(event, which)
    if order is not None:
        yield 0, _open(order, now, attributes)
    courier = _courier_of(event, which)
    if courier:
        yield 1, domain.AddMembers(now, "", (courier,), oversees=True, acting_service=SERVICE)
    told = dict(attributes)
    if which in ("rejected", "cancelled"):
        told["reason"] = event.rejected.reason if which == "rejected" else event.cancelled.reason
    yield 2, domain.PostSystemMessage(now, f"order.{which}", _TEXTS[which], told, acting_service=SERVICE)


def _open(order: order_pb2.Order, now: int, attributes: dict[str, str]) -> domain.CreateConversation:
    roles = {order.shop_id: domain.Role.OWNER}
    for user_id in (order.customer_id, order.courier_id):
        if user_id:
            roles.setdefault(user_id, domain.Role.MEMBER)
    return domain.CreateConversation(
        now,
        "",
        domain.Kind.GROUP,
        tuple(roles.items()),
        attributes=attributes,
        # Confirmed, rejected, completed: each may be the first one seen, and only the first opens.
        meets_existing=True,
        acting_service=SERVICE,
    )


def _order_of(event: order_pb2.OrderEvent, which: str) -> order_pb2.Order | None:
    """Give the order that an event carries, where it carries one."""
    if which in ("confirmed", "completed", "rejected", "cancelled"):
        order: order_pb2.Order = getattr(event, which).order
        return order
    return None


def _courier_of(event: order_pb2.OrderEvent, which: str) -> str:
    """Give the courier where this event names one; later ones only repeat it, and must not bring back a courier who left."""
    if which in ("accepted", "dispatched"):
        named: str = getattr(event, which).courier_id
        return named
    return ""
