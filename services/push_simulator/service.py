"""The rpcs of the simulator: each call looks at what its tokens say goes wrong, then takes what it carries."""

from __future__ import annotations

import asyncio

from tradewind.push.v1 import push_gateway_service_pb2 as pb
from tradewind.push.v1 import push_inbox_service_pb2 as inbox_pb

from services.push_simulator.behaviour import behaviour_of
from services.push_simulator.inbox import Inbox
from services.runtime.call import Call
from services.runtime.errors import Refused

_DEFAULT_LIMIT = 100


class PushGatewayService:
    """Handlers of ``tradewind.push.v1.PushGatewayService``; their contract is in ``push_gateway_service.proto``."""

    def __init__(self, inbox: Inbox) -> None:
        """Put what comes into ``inbox``."""
        self._inbox = inbox

    async def Push(self, request: pb.PushRequest, call: Call) -> pb.PushResponse:
        """Take notifications."""
        tenant = call.caller.tenant
        tokens = dict.fromkeys(each.device_token for each in request.notifications)
        behaviours = {token: behaviour_of(token) for token in tokens}
        slow_ms = max(behaviour.slow_ms for behaviour in behaviours.values())
        if slow_ms:
            await asyncio.sleep(slow_ms / 1000)
        for token, behaviour in behaviours.items():
            if behaviour.unavailable and await self._inbox.count(tenant, "call", token) < behaviour.unavailable:
                raise _unavailable()
        outcomes = await self._inbox.take(tenant, request.notifications)
        for token, behaviour in behaviours.items():
            if behaviour.lost and await self._inbox.count(tenant, "call", token) < behaviour.lost:
                raise _unavailable()
        answered = zip(request.notifications, outcomes, strict=True)
        return pb.PushResponse(
            results=[pb.PushResult(notification_id=each.notification_id, outcome=outcome) for each, outcome in answered]
        )


class PushInboxService:
    """Handlers of ``tradewind.push.v1.PushInboxService``; their contract is in ``push_inbox_service.proto``."""

    def __init__(self, inbox: Inbox) -> None:
        """Show what is in ``inbox``."""
        self._inbox = inbox

    async def ListPushed(self, request: inbox_pb.ListPushedRequest, call: Call) -> inbox_pb.ListPushedResponse:
        """List what came."""
        limit = request.limit or _DEFAULT_LIMIT
        found = await self._inbox.list(call.caller.tenant, request.device_token, request.after, limit)
        return inbox_pb.ListPushedResponse(pushed=found)


def _unavailable() -> Refused:
    return Refused("DEPENDENCY_UNAVAILABLE", "the platform's push service cannot be reached")
