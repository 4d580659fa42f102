"""The push gateway as rounds see it: notifications in, one word for each out. Whatever is not a clear word is "later"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import grpc
import structlog
from opentelemetry.metrics import Meter
from tradewind.push.v1 import push_gateway_service_pb2 as pb
from tradewind.push.v1.push_gateway_service_pb2_grpc import PushGatewayServiceStub

from services.runtime.channel import acting

MOST_AT_ONCE: Final = 500
_TIMEOUT_S: Final = 10.0
_NAMES: Final = {pb.PUSH_OUTCOME_DELIVERED: "delivered", pb.PUSH_OUTCOME_TOKEN_INVALID: "token_invalid"}
_log = structlog.get_logger(__name__)


class Gateway:
    """Pushes over one shared channel, which carries this service's token."""

    def __init__(self, channel: grpc.aio.Channel, meter: Meter) -> None:
        """Push over ``channel``, and count with ``meter`` what became of it."""
        self._stub = PushGatewayServiceStub(channel)
        self._outcomes = meter.create_counter(
            "tradewind.push.notifications",
            description="Notifications handed to the push gateway, by what became of them",
        )

    async def push(self, tenant: str, notifications: Sequence[pb.Notification]) -> list[pb.PushOutcome.ValueType]:
        """Hand notifications over, at most 500; gives what became of each, in their order."""
        outcomes = await self._push(tenant, notifications)
        for outcome, count in Counter(outcomes).items():
            self._outcomes.add(count, {"outcome": _NAMES.get(outcome, "later")})
        return outcomes

    async def _push(self, tenant: str, notifications: Sequence[pb.Notification]) -> list[pb.PushOutcome.ValueType]:
        try:
            with acting(tenant):
                response = await self._stub.Push(pb.PushRequest(notifications=notifications), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            _log.warning("push_not_taken", code=error.code().name, notifications=len(notifications))
            return [pb.PUSH_OUTCOME_RETRY_LATER] * len(notifications)
        except grpc.aio.UsageError:
            # The channel is closed: this process ends, and the round goes on in another.
            return [pb.PUSH_OUTCOME_RETRY_LATER] * len(notifications)
        answered = {result.notification_id: result.outcome for result in response.results}
        return [answered.get(each.notification_id, pb.PUSH_OUTCOME_RETRY_LATER) for each in notifications]
