"""The events of rounds, out and in."""

from __future__ import annotations

from tradewind.chat.v1 import push_pb2

from services.chat.push import domain
from services.chat.wire.numbers import microseconds, timestamp


def encode(event: domain.Event, version: int) -> bytes:
    """Give the event's bytes for log and store."""
    message = push_pb2.PushRoundEvent(version=version, event_time=timestamp(event.at_us))
    if isinstance(event, domain.Due):
        message.due.due_time.CopyFrom(timestamp(event.due_us))
    elif isinstance(event, domain.Begun):
        message.begun.upto_version = event.upto
    else:
        message.ended.failures = event.failures
        message.ended.upto_version = event.upto
        if event.next_us:
            message.ended.next_time.CopyFrom(timestamp(event.next_us))
        message.ended.SetInParent()
    return message.SerializeToString(deterministic=True)


def decode(payload: bytes) -> domain.Event:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = push_pb2.PushRoundEvent.FromString(payload)
    at_us = microseconds(message.event_time)
    which = message.WhichOneof("event")
    if which == "due":
        return domain.Due(at_us, microseconds(message.due.due_time))
    if which == "begun":
        return domain.Begun(at_us, message.begun.upto_version)
    if which == "ended":
        ended = message.ended
        next_us = microseconds(ended.next_time) if ended.HasField("next_time") else 0
        return domain.Ended(at_us, ended.upto_version, next_us, ended.failures)
    raise ValueError("an event of a kind that this release does not know")
