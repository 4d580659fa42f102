"""What a user does with a conversation for itself: its events, out and in."""

from __future__ import annotations

from tradewind.chat.v1 import chat_pb2

from services.chat.domain import place
from services.chat.wire.numbers import microseconds, timestamp


def encode_place(event: place.PlaceChange, version: int) -> bytes:
    """Give the event's bytes for log and store."""
    message = chat_pb2.PlaceEvent(
        version=version, event_time=timestamp(event.at_us), actor_id=event.actor, acting_service=event.acting_service
    )
    if isinstance(event, place.ChannelJoined):
        message.joined.create_time.CopyFrom(timestamp(event.created_us))
    elif isinstance(event, place.MessageHidden):
        message.hidden.message_version = event.version
        message.hidden.sender_id = event.sender
    else:
        message.left.SetInParent()
    return message.SerializeToString(deterministic=True)


def decode_place(payload: bytes) -> place.PlaceChange:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = chat_pb2.PlaceEvent.FromString(payload)
    who = (microseconds(message.event_time), message.actor_id, message.acting_service)
    which = message.WhichOneof("event")
    if which == "joined":
        return place.ChannelJoined(*who, microseconds(message.joined.create_time))
    if which == "left":
        return place.ChannelLeft(*who)
    if which == "hidden":
        return place.MessageHidden(*who, message.hidden.message_version, message.hidden.sender_id)
    raise ValueError("an event of a kind that this release does not know")
