"""What is still under way: orders and mails that have a next step by themselves."""

import time
from collections.abc import Iterator

from tradewind.mail.v1 import mail_pb2
from tradewind.order.v1 import order_pb2

from tests.drills.checker.evidence import Evidence, History

LONGEST_PUT_OFF = 400.0
"""Neither an order's step nor, on a stage, a mail's attempt is put off for longer, seconds: what is due later says a wrong clock."""
_ORDER_RESTS = frozenset({"confirmed", "accepted", "dispatched", "completed", "settled"})
_MAIL_RESTS = frozenset({"delivered", "bounced", "expired", "outcome_unknown", "opened"})


def unfinished(evidence: Evidence) -> Iterator[tuple[str, bool]]:
    """Orders and mails that are not at rest yet; True beside those that wait for the time of a wrong clock."""
    latest = time.time() + LONGEST_PUT_OFF
    yield from _orders(evidence, latest)
    yield from _mails(evidence, latest)


def _orders(evidence: Evidence, latest: float) -> Iterator[tuple[str, bool]]:
    for ident, history in evidence.of_kind("order", "order"):
        event = order_pb2.OrderEvent.FromString(_last(history))
        if history.version and not _rests(event):
            yield f"order {ident}: {event.WhichOneof('event')}", event.step_delayed.retry_time.seconds > latest


def _mails(evidence: Evidence, latest: float) -> Iterator[tuple[str, bool]]:
    for ident, history in evidence.of_kind("mail", "mail"):
        event = mail_pb2.MailEvent.FromString(_last(history))
        which = event.WhichOneof("event")
        if history.version and which not in _MAIL_RESTS:
            due = max(event.deferred.next_attempt_time.seconds, event.postponed.next_attempt_time.seconds)
            yield f"mail {ident}: {which}", max(due, event.event_time.seconds) > latest


def _last(history: History) -> bytes:
    return next((entry.events[-1] for entry in reversed(history.entries) if entry.events), b"")


def _rests(event: order_pb2.OrderEvent) -> bool:
    """A void whose outcome is unknown is asked for again for a minute; nothing else of its order changes meanwhile."""
    which = event.WhichOneof("event")
    voiding = event.step_delayed.step == order_pb2.ORDER_STEP_VOID_PAYMENT
    return which in _ORDER_RESTS or (which == "step_delayed" and voiding)
