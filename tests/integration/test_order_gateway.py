"""The payment simulator's rpcs: durable, idempotent, authenticated; and its faults as a client meets them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from tradewind.payment.v1 import payment_gateway_service_pb2 as pay

from services.runtime.tokens import Signer
from tests.integration.order_world import GatewayWorld, gateway_world, gbp, keys_in, new_channel, refused


def asked(key: str = "k1", method: str = "pm_ok", amount: int = 1000) -> pay.AuthorizePaymentRequest:
    return pay.AuthorizePaymentRequest(payment_key=key, amount=gbp(amount), payment_method=method)


async def authorize(gateway: GatewayWorld, **fields: Any) -> pay.Payment:
    payment: pay.Payment = (await gateway.call("AuthorizePayment", asked(**fields))).payment
    return payment


async def test_a_payment_lives_through_all_its_steps_and_a_restart(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as gateway:
        first = await authorize(gateway)
        assert first.state == pay.PAYMENT_STATE_AUTHORIZED
        assert await authorize(gateway) == first
    async with gateway_world(tmp_path) as gateway:
        assert await gateway.look_up("k1") == first
        capture = pay.CapturePaymentRequest(payment_key="k1")
        captured = (await gateway.call("CapturePayment", capture)).payment
        assert captured.state == pay.PAYMENT_STATE_CAPTURED
        assert (await gateway.call("CapturePayment", capture)).payment == captured
        assert (
            await refused(gateway.call("VoidPayment", pay.VoidPaymentRequest(payment_key="k1")))
            == "WRONG_PAYMENT_STATE"
        )
        refund = pay.RefundPaymentRequest(payment_key="k1", refund_key="r1", amount=gbp(700))
        for _ in range(2):
            assert (await gateway.call("RefundPayment", refund)).payment.refunded.minor_units == 700
        refund = pay.RefundPaymentRequest(payment_key="k1", refund_key="r2", amount=gbp(301))
        assert await refused(gateway.call("RefundPayment", refund)) == "WRONG_PAYMENT_STATE"
        refund = pay.RefundPaymentRequest(payment_key="k1", refund_key="r2", amount=gbp(300))
        assert (await gateway.call("RefundPayment", refund)).payment.refunded.minor_units == 1000


async def test_what_it_refuses(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as gateway:
        assert await refused(gateway.look_up("nothing")) == "PAYMENT_NOT_FOUND"
        for method, request in (("CapturePayment", pay.CapturePaymentRequest), ("VoidPayment", pay.VoidPaymentRequest)):
            assert await refused(gateway.call(method, request(payment_key="nothing"))) == "PAYMENT_NOT_FOUND"
        assert await refused(authorize(gateway, amount=0)) == "INVALID_FIELD"
        assert await refused(authorize(gateway, key="")) == "INVALID_FIELD"
        for _ in range(2):
            assert await refused(authorize(gateway, key="d", method="pm_insufficient_funds")) == "PAYMENT_DECLINED"
        assert (await gateway.look_up("d")).state == pay.PAYMENT_STATE_DECLINED
        await authorize(gateway)
        assert await refused(authorize(gateway, amount=2)) == "REQUEST_ID_REUSED"
        await gateway.call("VoidPayment", pay.VoidPaymentRequest(payment_key="k1"))
        assert await refused(authorize(gateway)) == "WRONG_PAYMENT_STATE"


async def test_one_key_asked_a_hundred_times_at_once_is_one_payment(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as gateway:
        payments = await asyncio.gather(*(authorize(gateway) for _ in range(100)))
        assert len({payment.gateway_reference for payment in payments}) == 1
        assert {payment.state for payment in payments} == {pay.PAYMENT_STATE_AUTHORIZED}


async def test_keys_of_two_tenants_are_two_payments(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as gateway:
        await authorize(gateway)
        signer = Signer.from_file(keys_in(tmp_path)["service_key_file"])
        other = (("authorization", f"Bearer {signer.mint('order', 'other', ['service'])}"),)
        customer = (("authorization", f"Bearer {signer.mint('carol', 'acme', ['customer'])}"),)
        async with new_channel(gateway.server.port) as channel:
            look_up = channel.unary_unary(
                "/tradewind.payment.v1.PaymentGatewayService/LookUpPayment",
                pay.LookUpPaymentRequest.SerializeToString,
                pay.LookUpPaymentResponse.FromString,
            )
            request = pay.LookUpPaymentRequest(payment_key="k1")
            assert await refused(look_up(request, metadata=other)) == "PAYMENT_NOT_FOUND"
            assert await refused(look_up(request, metadata=customer)) == "FORBIDDEN"
            assert await refused(look_up(request)) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("method", "codes", "known"),
    [
        ("pm_unavailable_then_ok", ["UNAVAILABLE", "UNAVAILABLE", "OK"], False),
        ("pm_internal_then_ok:2", ["INTERNAL", "INTERNAL", "OK"], False),
        ("pm_timeout_before_apply", ["DEADLINE_EXCEEDED", "OK"], False),
        ("pm_timeout_after_apply", ["DEADLINE_EXCEEDED", "OK"], True),
        ("pm_unavailable_after_apply", ["UNAVAILABLE", "OK"], True),
        ("pm_slow:50", ["OK", "OK"], True),
    ],
)
async def test_faults_come_as_their_token_says(tmp_path: Path, method: str, codes: list[str], known: bool) -> None:
    async with gateway_world(tmp_path) as gateway:
        await refused(gateway.look_up("k1"))  # connected, so that a call comes there within its deadline
        for index, code in enumerate(codes):
            try:
                seconds = 0.5 if code == "DEADLINE_EXCEEDED" else 30.0
                await gateway.call("AuthorizePayment", asked(method=method), timeout=seconds)
                assert code == "OK"
            except grpc.aio.AioRpcError as error:
                assert error.code().name == code
            if index == 0 and not known:
                assert await refused(gateway.look_up("k1")) == "PAYMENT_NOT_FOUND"
            elif index == 0:
                assert (await gateway.look_up("k1")).state == pay.PAYMENT_STATE_AUTHORIZED


async def test_a_late_step_is_applied_though_its_caller_has_gone(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as gateway:
        await refused(gateway.look_up("k1"))  # connected, so that the call comes there within its deadline
        with pytest.raises(grpc.aio.AioRpcError):
            await gateway.call("AuthorizePayment", asked(method="pm_late:2000"), timeout=0.3)
        assert (
            await refused(gateway.call("VoidPayment", pay.VoidPaymentRequest(payment_key="k1"))) == "PAYMENT_NOT_FOUND"
        )
        async with asyncio.timeout(60):
            while True:
                try:
                    assert (await gateway.look_up("k1")).state == pay.PAYMENT_STATE_AUTHORIZED
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.02)
