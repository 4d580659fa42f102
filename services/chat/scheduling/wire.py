"""A user's scheduled messages: their events, out and in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tradewind.chat.v1 import schedule_service_pb2 as pb

from services.chat.scheduling import domain
from services.chat.wire import microseconds, timestamp


def encode(event: domain.ScheduleChange, version: int) -> bytes:
    """Give the event's bytes for log and store."""
    message = pb.ScheduleEvent(version=version, event_time=timestamp(event.at_us), acting_service=event.acting_service)
    match event:
        case domain.Scheduled():
            message.scheduled.conversation_id = event.conversation_id
            message.scheduled.content = event.content
            message.scheduled.send_time.CopyFrom(timestamp(event.send_us))
        case domain.Changed():
            message.changed.content = event.content
            if event.send_us:
                message.changed.send_time.CopyFrom(timestamp(event.send_us))
        case domain.Begun():
            message.begun.content = event.content
        case domain.Waits():
            message.put_off.until.CopyFrom(timestamp(event.until_us))
        case domain.Sent():
            message.sent.message_version = event.version
        case domain.Failed():
            message.failed.reason = event.reason
    getattr(message, _NAMES[type(event)]).scheduled_id = event.id
    return message.SerializeToString(deterministic=True)


def decode(payload: bytes) -> domain.ScheduleChange:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = pb.ScheduleEvent.FromString(payload)
    which = message.WhichOneof("event")
    if which is None:
        raise ValueError("an event of a kind that this release does not know")
    it = getattr(message, which)
    made, fields = _DECODES[which]
    return made(microseconds(message.event_time), message.acting_service, it.scheduled_id, *fields(it))


def content_of(payload: bytes) -> bytes:
    """Read what is to be said, as log and store hold it; empty where the event says nothing of it."""
    message = pb.ScheduleEvent.FromString(payload)
    which = message.WhichOneof("event")
    content: bytes = getattr(message, which).content if which in ("scheduled", "changed", "begun") else b""
    return content


def sets_time(payload: bytes) -> bool:
    """Tell whether an event says when something is to be sent."""
    return pb.ScheduleEvent.FromString(payload).WhichOneof("event") in ("scheduled", "changed", "put_off")


_NAMES: Final = {
    domain.Scheduled: "scheduled",
    domain.Changed: "changed",
    domain.Cancelled: "cancelled",
    domain.Begun: "begun",
    domain.Waits: "put_off",
    domain.Sent: "sent",
    domain.Failed: "failed",
}
_DECODES: Final[Mapping[str, tuple[Callable[..., domain.ScheduleChange], Callable[[Any], tuple[Any, ...]]]]] = {
    "scheduled": (domain.Scheduled, lambda it: (it.conversation_id, it.content, microseconds(it.send_time))),
    # A time that is absent reads as 0: it stays as it was.
    "changed": (domain.Changed, lambda it: (it.content, microseconds(it.send_time))),
    "cancelled": (domain.Cancelled, lambda _: ()),
    "begun": (domain.Begun, lambda it: (it.content,)),
    "put_off": (domain.Waits, lambda it: (microseconds(it.until),)),
    "sent": (domain.Sent, lambda it: (it.message_version,)),
    "failed": (domain.Failed, lambda it: (it.reason,)),
}
