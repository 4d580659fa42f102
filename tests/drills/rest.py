"""What is still under way: orders and mails that have a next step by themselves."""

from collections.abc import Iterator

from tradewind.mail.v1 import mail_pb2
from tradewind.order.v1 import order_pb2

from tests.drills.checker.evidence import Evidence

_ORDER_RESTS = frozenset({"confirmed", "accepted", "dispatched", "completed", "settled"})
_MAIL_RESTS = frozenset({"delivered", "bounced", "expired", "outcome_unknown", "opened"})


def unfinished(evidence: Evidence) -> Iterator[str]:
    """Orders and mails that are not at rest yet."""
    for ident, history in evidence.of_kind("order", "order"):
        last = [raw for _, raw in history.events()][-1:]
        event = order_pb2.OrderEvent.FromString(last[0]) if last else None
        if event and not _rests(event):
            yield f"order {ident}: {event.WhichOneof('event')}"
    for ident, history in evidence.of_kind("mail", "mail"):
        last = [raw for _, raw in history.events()][-1:]
        which = mail_pb2.MailEvent.FromString(last[0]).WhichOneof("event") if last else None
        if which and which not in _MAIL_RESTS:
            yield f"mail {ident}: {which}"


def _rests(event: order_pb2.OrderEvent) -> bool:
    """A void whose outcome is unknown is asked for again for a minute; nothing else of its order changes meanwhile."""
    which = event.WhichOneof("event")
    voiding = event.step_delayed.step == order_pb2.ORDER_STEP_VOID_PAYMENT
    return which in _ORDER_RESTS or (which == "step_delayed" and voiding)
