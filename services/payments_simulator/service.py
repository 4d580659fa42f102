"""The rpcs of the gateway: each looks at what its method's token says goes wrong, then does its step."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from tradewind.payment.v1 import payment_gateway_service_pb2 as pb
from tradewind.type.v1 import money_pb2

from services.payments_simulator import payments
from services.payments_simulator.behaviour import AUTHORIZE, CAPTURE, VOID, Answer, Behaviour, Fault, behaviour_of
from services.payments_simulator.book import Book, Rule
from services.payments_simulator.payments import Payment, State
from services.runtime.call import Call
from services.runtime.errors import Refused

_MOST_LATE = 10_000


class GatewayFailed(Exception):
    """The simulated gateway has a simulated defect; its caller sees INTERNAL."""


class PaymentGatewayService:
    """Handlers of ``tradewind.payment.v1.PaymentGatewayService``; their contract is in ``payment_gateway_service.proto``."""

    def __init__(self, book: Book) -> None:
        """Serve the payments of ``book``."""
        self._book = book
        self._late: set[asyncio.Task[None]] = set()

    async def AuthorizePayment(self, request: pb.AuthorizePaymentRequest, call: Call) -> pb.AuthorizePaymentResponse:
        """Reserve an amount on the payer's method."""
        amount = request.amount
        if amount.minor_units <= 0:
            raise Refused("INVALID_FIELD", "an amount is more than zero", field="amount.minor_units")
        behaviour = behaviour_of(request.payment_method)
        asked = Payment(
            request.payment_key, State.AUTHORIZED, amount.currency_code, amount.minor_units, request.payment_method
        )
        rule = partial(payments.authorize, asked=asked, decline_code=behaviour.decline_code)
        payment = await self._step(AUTHORIZE, request.payment_key, behaviour, rule, call)
        if payment.state is State.DECLINED:
            code = behaviour.decline_code or "declined"
            raise Refused("PAYMENT_DECLINED", "the payment was refused by its issuer", metadata={"decline_code": code})
        return pb.AuthorizePaymentResponse(payment=_message(payment))

    async def CapturePayment(self, request: pb.CapturePaymentRequest, call: Call) -> pb.CapturePaymentResponse:
        """Take the authorised amount."""
        behaviour = await self._behaviour(request.payment_key, call)
        payment = await self._step(CAPTURE, request.payment_key, behaviour, payments.capture, call)
        return pb.CapturePaymentResponse(payment=_message(payment))

    async def VoidPayment(self, request: pb.VoidPaymentRequest, call: Call) -> pb.VoidPaymentResponse:
        """Give an authorisation back."""
        behaviour = await self._behaviour(request.payment_key, call)
        payment = await self._step(VOID, request.payment_key, behaviour, payments.void, call)
        return pb.VoidPaymentResponse(payment=_message(payment))

    async def RefundPayment(self, request: pb.RefundPaymentRequest, call: Call) -> pb.RefundPaymentResponse:
        """Give captured money back."""
        amount = request.amount
        if amount.minor_units <= 0:
            raise Refused("INVALID_FIELD", "an amount is more than zero", field="amount.minor_units")

        def rule(known: Payment | None, before: int | None) -> Payment:
            return payments.refund(known, amount.currency_code, amount.minor_units, before)

        payment = await self._book.refund(
            call.caller.tenant, request.payment_key, request.refund_key, amount.minor_units, rule
        )
        return pb.RefundPaymentResponse(payment=_message(payment))

    async def LookUpPayment(self, request: pb.LookUpPaymentRequest, call: Call) -> pb.LookUpPaymentResponse:
        """Say what became of a payment."""
        known = await self._book.look_up(call.caller.tenant, request.payment_key)
        return pb.LookUpPaymentResponse(payment=_message(payments.found(known)))

    async def close(self) -> None:
        """Forget what would be done late, as a gateway does that falls over."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def _behaviour(self, key: str, call: Call) -> Behaviour:
        known = payments.found(await self._book.look_up(call.caller.tenant, key))
        return behaviour_of(known.payment_method)

    async def _step(self, step: str, key: str, behaviour: Behaviour, rule: Rule, call: Call) -> Payment:
        """Do a step as the method's token wants it done."""
        tenant = call.caller.tenant
        if behaviour.slow_ms:
            await asyncio.sleep(behaviour.slow_ms / 1000)
        fault = behaviour.fault_of(step)
        if fault is not None and await self._book.count_call(tenant, key, step) < fault.calls:
            if fault.late_ms:
                self._do_late(tenant, key, rule, fault)
            elif fault.applies:
                await self._book.step(tenant, key, rule)
            await _fail(fault, call)
        return await self._book.step(tenant, key, rule)

    def _do_late(self, tenant: str, key: str, rule: Rule, fault: Fault) -> None:
        if len(self._late) >= _MOST_LATE:
            raise Refused("OVERLOADED", "too many steps are to be done late")

        async def late() -> None:
            await asyncio.sleep(fault.late_ms / 1000)
            try:
                await self._book.step(tenant, key, rule)
            except Refused as refused:
                structlog.get_logger().info("late_step_refused", reason=refused.reason)

        task = asyncio.create_task(late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


async def _fail(fault: Fault, call: Call) -> None:
    """End a call as a fault wants it. Raises Refused (DEPENDENCY_UNAVAILABLE, DRAINING), GatewayFailed."""
    match fault.answer:
        case Answer.UNAVAILABLE:
            raise Refused("DEPENDENCY_UNAVAILABLE", "the gateway's acquirer cannot be reached")
        case Answer.INTERNAL:
            raise GatewayFailed
        case Answer.SILENCE:
            # Until the caller's deadline, at which the runtime cancels this call; a stopping simulator hangs up earlier.
            await call.draining.wait()
            raise Refused("DRAINING", "the gateway is stopping")


def _message(payment: Payment) -> pb.Payment:
    def money(minor_units: int) -> money_pb2.Money:
        return money_pb2.Money(currency_code=payment.currency_code, minor_units=minor_units)

    return pb.Payment(
        payment_key=payment.key,
        state=pb.PaymentState.ValueType(payment.state),
        amount=money(payment.minor_units),
        refunded=money(payment.refunded),
        gateway_reference=payment.reference,
    )
