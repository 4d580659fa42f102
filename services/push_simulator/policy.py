"""Who may call the gateway: services only; what came is shown to a tenant's administrators too."""

from __future__ import annotations

from typing import Final

from services.runtime.policy import Policy

POLICY: Final[Policy] = {
    "/tradewind.push.v1.PushGatewayService/Push": frozenset({"service"}),
    "/tradewind.push.v1.PushInboxService/ListPushed": frozenset({"service", "admin"}),
}
