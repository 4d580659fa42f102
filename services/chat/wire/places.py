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
    elif isinstance(event, place.Archived | place.Silenced | place.Hidden):
        _encode_flag(event, message)
    else:
        message.left.SetInParent()
    return message.SerializeToString(deterministic=True)


def _encode_flag(event: place.Archived | place.Silenced | place.Hidden, message: chat_pb2.PlaceEvent) -> None:
    if isinstance(event, place.Archived):
        if event.version:
            message.archived.conversation_version = event.version
        else:
            message.unarchived.SetInParent()
    elif isinstance(event, place.Hidden):
        if event.version:
            message.conversation_hidden.conversation_version = event.version
        else:
            message.conversation_shown.SetInParent()
    elif event.until_us:
        message.notifications_muted.SetInParent()
        if event.until_us != place.FOR_EVER:
            message.notifications_muted.until.CopyFrom(timestamp(event.until_us))
    else:
        message.notifications_unmuted.SetInParent()


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
    if which is not None and (flag := _decode_flag(which, who, message)) is not None:
        return flag
    raise ValueError("an event of a kind that this release does not know")


def _decode_flag(
    which: str, who: tuple[int, str, str], message: chat_pb2.PlaceEvent
) -> place.Archived | place.Silenced | place.Hidden | None:
    match which:
        case "archived":
            return place.Archived(*who, message.archived.conversation_version)
        case "unarchived":
            return place.Archived(*who, 0)
        case "conversation_hidden":
            return place.Hidden(*who, message.conversation_hidden.conversation_version)
        case "conversation_shown":
            return place.Hidden(*who, 0)
        case "notifications_muted":
            muted = message.notifications_muted
            return place.Silenced(*who, microseconds(muted.until) if muted.HasField("until") else place.FOR_EVER)
        case "notifications_unmuted":
            return place.Silenced(*who, 0)
    return None
