"""Who may call what of Order, before any order is looked at: one row an rpc. Whose orders one sees is in ``access``."""

from __future__ import annotations

from typing import Final

from services.runtime.policy import Policy

_EVERYBODY: Final = frozenset({"customer", "shop", "courier", "service", "admin"})
_BUYERS: Final = frozenset({"customer", "shop", "service", "admin"})
_SHOPS: Final = frozenset({"shop", "service", "admin"})
_CARRIERS: Final = frozenset({"shop", "courier", "service", "admin"})

POLICY: Final[Policy] = {
    "/tradewind.order.v1.OrderService/PutItem": _SHOPS,
    "/tradewind.order.v1.OrderService/GetItem": _EVERYBODY,
    "/tradewind.order.v1.OrderService/AdjustStock": _SHOPS,
    "/tradewind.order.v1.OrderService/GetStock": _EVERYBODY,
    "/tradewind.order.v1.OrderService/PlaceOrder": _BUYERS,
    "/tradewind.order.v1.OrderService/PlaceOrders": _BUYERS,
    "/tradewind.order.v1.OrderService/GetOrder": _EVERYBODY,
    "/tradewind.order.v1.OrderService/ListOrders": _BUYERS,
    "/tradewind.order.v1.OrderService/CancelOrder": _BUYERS,
    "/tradewind.order.v1.OrderService/AcceptOrder": _SHOPS,
    "/tradewind.order.v1.OrderService/DispatchOrder": _SHOPS,
    "/tradewind.order.v1.OrderService/DeliverOrder": _CARRIERS,
    "/tradewind.order.v1.OrderService/WatchOrder": _EVERYBODY,
}
