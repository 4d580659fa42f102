"""Stock on hand, reserved and sold add up to what was put in; what the gateway captured is what orders say; each step was told once."""

from collections import defaultdict
from collections.abc import Iterator

from tradewind.chat.v1 import chat_pb2
from tradewind.order.v1 import order_pb2

from tests.drills.checker import findings
from tests.drills.checker.evidence import Evidence, History
from tests.drills.checker.findings import Finding

AUTHORIZED, CAPTURED = 1, 3
"""As `tradewind.payment.v1.PaymentState` numbers them."""
_COMPLETED = 7
_TOLD = ("confirmed", "accepted", "dispatched", "delivered", "completed", "rejected", "cancelled")


def check_stock(evidence: Evidence) -> Iterator[Finding]:
    """Folds each stock's own events: never below zero, and in the end what GetStock says and orders took."""
    taken: dict[str, int] = defaultdict(int)
    for _, history in evidence.of_kind("order", "order"):
        for sku, quantity in _sold(history).items():
            taken[sku] += quantity
    for ident, history in evidence.of_kind("order", "stock"):
        put, available, reserved, sold = 0, 0, 0, 0
        for version, raw in history.events():
            event = order_pb2.StockEvent.FromString(raw)
            put += event.adjusted.delta
            available += event.adjusted.delta - event.reserved.quantity
            available += event.released.quantity + event.expired.quantity
            held = event.released.quantity if not event.released.was_sold else 0
            reserved += event.reserved.quantity - held - event.expired.quantity - event.sold.quantity
            sold += event.sold.quantity - (event.released.quantity if event.released.was_sold else 0)
            if min(available, reserved, sold) < 0:
                yield Finding(findings.OVERSOLD, f"{ident} at {version}: {available}, {reserved}, {sold}")
        sku = next((name for name in evidence.stocks if name in ident.replace("=", "/").split("/")), "")
        where = f"{ident}: put in {put}; on hand {available}, reserved {reserved}, sold {sold}"
        if available + reserved + sold != put:
            yield Finding(findings.STOCK, where)
        if sku and evidence.stocks[sku] != (available, reserved, sold):
            yield Finding(findings.STOCK, f"{where}; GetStock says {evidence.stocks[sku]}")
        if sku and sold != taken[sku]:
            yield Finding(findings.STOCK, f"{where}; orders took {taken[sku]}")


def _sold(history: History) -> dict[str, int]:
    """Units of each item that an order holds as sold: those of its lines once it is confirmed, and until they are released."""
    lines: dict[str, int] = defaultdict(int)
    holds = False
    for _, raw in history.events():
        event = order_pb2.OrderEvent.FromString(raw)
        which = event.WhichOneof("event")
        if which == "placed":
            for line in event.placed.lines:
                lines[line.sku] += line.quantity
        elif which == "confirmed":
            holds = True
        elif which == "stock_released":
            holds = False
    return dict(lines) if holds else {}


def check_payments(evidence: Evidence) -> Iterator[Finding]:
    """Captured less refunded at the gateway is what the order says was captured, no more and no less; nothing is left authorised."""
    for order, history in evidence.of_kind("order", "order"):
        key, net, completed = "", 0, False
        for _, raw in history.events():
            event = order_pb2.OrderEvent.FromString(raw)
            key = event.payment_authorization_requested.payment_key or key
            net += event.payment_captured.amount.minor_units
            completed = completed or event.WhichOneof("event") == "completed"
        if not key:
            continue
        payment = evidence.payments.get(key)
        captured = payment.amount - payment.refunded if payment and payment.state == CAPTURED else 0
        if captured != net:
            yield Finding(findings.MONEY, f"{order}: the gateway has {captured}, the order says {net}")
        state, settled = evidence.orders.get(order, (0, False))
        if state == _COMPLETED and not (completed and captured):
            yield Finding(findings.MONEY, f"{order} is completed and not paid")
        if settled and state != _COMPLETED and payment and payment.state in (AUTHORIZED, CAPTURED):
            yield Finding(findings.MONEY, f"{order} is settled, its payment in state {payment.state}")


def check_told(evidence: Evidence, in_order: bool = True) -> Iterator[Finding]:
    """Each order's conversation has its steps, in order, once each: what consumers do because of an event, is done once."""
    if "chat" not in evidence.logs or "order" not in evidence.logs:
        return
    conversations = dict(evidence.of_kind("chat", "conversation"))
    for order, history in evidence.of_kind("order", "order"):
        wanted = [which for which in _steps(history) if which in _TOLD]
        conversation = conversations.get(f"order-{order}")
        said = _codes(conversation) if conversation else []
        meant = [f"order.{which}" for which in wanted]
        if said != meant and (in_order or sorted(said) != sorted(meant)):
            yield Finding(findings.TOLD, f"{order}: {wanted}, told {said}")


def _steps(history: History) -> list[str]:
    return [str(order_pb2.OrderEvent.FromString(raw).WhichOneof("event")) for _, raw in history.events()]


def _codes(history: History) -> list[str]:
    events = (chat_pb2.ConversationEvent.FromString(raw) for _, raw in history.events())
    return [str(event.system_message.code) for event in events if event.HasField("system_message")]
