"""Gathers the evidence: raw stores, public API, gateway, receiving mail server."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import grpc
from tradewind.admin.v1 import admin_service_pb2 as admin_pb
from tradewind.admin.v1 import admin_service_pb2_grpc as admin_rpc
from tradewind.chat.v1 import chat_service_pb2 as chat_pb
from tradewind.chat.v1 import chat_service_pb2_grpc as chat_rpc
from tradewind.mail.v1 import mail_service_pb2 as mail_pb
from tradewind.mail.v1 import mail_service_pb2_grpc as mail_rpc
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as order_pb
from tradewind.order.v1 import order_service_pb2_grpc as order_rpc
from tradewind.payment.v1 import payment_gateway_service_pb2 as payment_pb
from tradewind.payment.v1 import payment_gateway_service_pb2_grpc as payment_rpc

from tests.drills.checker.evidence import Evidence, Mail, Payment
from tests.drills.records import digest

Metadata = Sequence[tuple[str, str]]
_AT_ONCE = 16
_TRIES = 40
_Answer = TypeVar("_Answer")


class Collector:
    """Asks the public API; waits out what is not there yet after a fault.

    Args:
        channels: of each service, "payments" the gateway's; services that are not there are passed over.
        seer: metadata of a token that sees all of the tenant (roles admin, service, operator).
    """

    def __init__(self, channels: dict[str, grpc.aio.Channel], seer: Metadata) -> None:
        self._channels, self._seer = channels, seer

    async def ask(self, call: Callable[..., Awaitable[_Answer]], request: object) -> _Answer | None:
        """One answer; None where there is no such thing. Raises the last error where nothing answers for long."""
        for turn in range(_TRIES):
            try:
                return await call(request, metadata=self._seer, timeout=10.0)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return None
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED
                ) or turn == _TRIES - 1:  # fmt: skip
                    raise
            await asyncio.sleep(0.5)
        return None

    async def messages(self, evidence: Evidence, conversations: Iterable[str]) -> None:
        """All pages of each conversation."""
        stub = chat_rpc.ChatServiceStub(self._channels["chat"])
        for conversation in conversations:
            found: list[tuple[int, str]] = []
            page = chat_pb.ListMessagesRequest(conversation_id=conversation, page_size=500, oldest_first=True)
            while True:
                answer = await self.ask(stub.ListMessages, page)
                for message in answer.messages if answer else ():
                    if message.sender_id:
                        found.append((int(message.version), digest(message.content.text)))
                if answer is None or not answer.next_page_token:
                    break
                page.page_token = answer.next_page_token
            evidence.messages[conversation] = found

    async def orders(self, evidence: Evidence, shop: str, skus: Iterable[str]) -> None:
        """Every order of the raw store by GetOrder, every payment they name, and the stocks."""
        stub = order_rpc.OrderServiceStub(self._channels["order"])
        gateway = payment_rpc.PaymentGatewayServiceStub(self._channels["payments"])
        keys = set()

        async def one(order: str) -> None:
            answer = await self.ask(stub.GetOrder, order_pb.GetOrderRequest(order_id=order))
            if answer is not None:
                evidence.orders[order] = (int(answer.order.state), bool(answer.order.settled))

        async def pay(key: str) -> None:
            answer = await self.ask(gateway.LookUpPayment, payment_pb.LookUpPaymentRequest(payment_key=key))
            if answer is not None:
                paid = answer.payment
                evidence.payments[key] = Payment(int(paid.state), paid.amount.minor_units, paid.refunded.minor_units)

        orders = list(evidence.of_kind("order", "order"))
        for _, history in orders:
            for _, raw in history.events():
                key = order_pb2.OrderEvent.FromString(raw).payment_authorization_requested.payment_key
                keys.update([key] if key else [])
        await _spread([partial(one, order) for order, _ in orders])
        await _spread([partial(pay, key) for key in sorted(keys)])
        for sku in skus:
            stock = await self.ask(stub.GetStock, order_pb.GetStockRequest(shop_id=shop, sku=sku))
            if stock is not None:
                found = stock.stock
                evidence.stocks[sku] = (int(found.available), int(found.reserved), int(found.sold))

    async def mails(self, evidence: Evidence, inbox: Counter[str]) -> None:
        """Every mail of the raw store by GetMail."""
        stub = mail_rpc.MailServiceStub(self._channels["mail"])

        async def one(ident: str) -> None:
            answer = await self.ask(stub.GetMail, mail_pb.GetMailRequest(mail_id=ident))
            if answer is not None:
                found = answer.mail
                outcomes = [attempt.outcome for attempt in found.attempts]
                evidence.mails[ident] = Mail(found.to.address, int(found.state), outcomes)

        await _spread([partial(one, ident) for ident, _ in evidence.of_kind("mail", "mail")])
        evidence.inbox = inbox

    async def dead_letters(self, evidence: Evidence) -> None:
        """How many dead letters each service has."""
        for service in ("chat", "order", "mail"):
            if service in self._channels:
                stub = admin_rpc.AdminServiceStub(self._channels[service])
                answer = await self.ask(stub.ListDeadLetters, admin_pb.ListDeadLettersRequest(page_size=1000))
                evidence.dead_letters[service] = len(answer.dead_letters) if answer else 0


async def _spread(work: Sequence[Callable[[], Awaitable[Any]]]) -> None:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(make: Callable[[], Awaitable[Any]]) -> None:
        async with room:
            await make()

    await asyncio.gather(*(one(make) for make in work))
