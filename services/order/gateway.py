"""The payment gateway as the saga sees it: a question in, one word out. Whatever is not a clear word is UNKNOWN."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2
from tradewind.payment.v1 import payment_gateway_service_pb2 as pb
from tradewind.payment.v1.payment_gateway_service_pb2_grpc import PaymentGatewayServiceStub

from services.order.domain.performing import Answer, AskGateway, Said, Verb
from services.order.wire import values
from services.runtime.channel import acting
from services.runtime.errors import DETAILS_KEY

_STATES: Final[Mapping[int, Said]] = {
    pb.PAYMENT_STATE_AUTHORIZED: Said.AUTHORIZED,
    pb.PAYMENT_STATE_DECLINED: Said.DECLINED,
    pb.PAYMENT_STATE_CAPTURED: Said.CAPTURED,
    pb.PAYMENT_STATE_VOIDED: Said.VOIDED,
}
_REASONS: Final[Mapping[tuple[grpc.StatusCode, str], Said]] = {
    (grpc.StatusCode.FAILED_PRECONDITION, "PAYMENT_DECLINED"): Said.DECLINED,
    (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_PAYMENT_STATE"): Said.WRONG_STATE,
    (grpc.StatusCode.NOT_FOUND, "PAYMENT_NOT_FOUND"): Said.NOT_FOUND,
}
_SHORT_S: Final = 5.0
"""Deadline of the steps that may be asked again at any time."""


class Gateway:
    """Asks the gateway behind one shared channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Ask over ``channel``, which carries this service's token."""
        stub = PaymentGatewayServiceStub(channel)
        self._log = structlog.get_logger()
        self._rpcs: Mapping[Verb, tuple[Callable[..., Awaitable[Any]], type[Any]]] = {
            Verb.AUTHORIZE: (stub.AuthorizePayment, pb.AuthorizePaymentRequest),
            Verb.CAPTURE: (stub.CapturePayment, pb.CapturePaymentRequest),
            Verb.VOID: (stub.VoidPayment, pb.VoidPaymentRequest),
            Verb.LOOK_UP: (stub.LookUpPayment, pb.LookUpPaymentRequest),
        }

    async def ask(self, tenant: str, question: AskGateway, authorize_until: float) -> Answer:
        """Ask a question for a tenant.

        ``authorize_until``, on the monotonic clock: an authorisation is not sent, nor waited for, beyond it, so that whoever closes the
        order knows from when on none can be on its way.
        """
        rpc, request_type = self._rpcs[question.verb]
        fields: dict[str, Any] = {"payment_key": question.payment_key}
        timeout = _SHORT_S
        if question.verb is Verb.AUTHORIZE and question.effect is not None:
            fields["amount"] = values.money(question.effect.amount)
            fields["payment_method"] = question.effect.payment_method
            timeout = authorize_until - time.monotonic()
            if timeout <= 0:
                return Answer(Said.UNKNOWN)
        try:
            with acting(tenant):
                response = await rpc(request_type(**fields), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return self._failed(question, error)
        payment: pb.Payment = response.payment
        return Answer(_STATES.get(payment.state, Said.UNKNOWN), payment.gateway_reference)

    def _failed(self, question: AskGateway, error: grpc.aio.AioRpcError) -> Answer:
        code = error.code()
        said = _REASONS.get((code, _reason_of(error)), Said.UNKNOWN)
        if code is grpc.StatusCode.INVALID_ARGUMENT and question.verb is Verb.AUTHORIZE:
            # A request that the gateway finds malformed will never be anything else.
            said = Said.DECLINED
        if said is Said.UNKNOWN:
            self._log.warning("payment_outcome_unknown", step=question.verb.name, code=code.name)
        return Answer(said)


def _reason_of(error: grpc.aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            info = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""
