"""Who may call the gateway: services only."""

from __future__ import annotations

from typing import Final

from services.runtime.policy import Policy

_SERVICES: Final = frozenset({"service"})

POLICY: Final[Policy] = {
    "/tradewind.payment.v1.PaymentGatewayService/AuthorizePayment": _SERVICES,
    "/tradewind.payment.v1.PaymentGatewayService/CapturePayment": _SERVICES,
    "/tradewind.payment.v1.PaymentGatewayService/VoidPayment": _SERVICES,
    "/tradewind.payment.v1.PaymentGatewayService/RefundPayment": _SERVICES,
    "/tradewind.payment.v1.PaymentGatewayService/LookUpPayment": _SERVICES,
}
