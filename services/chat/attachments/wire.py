"""Attachments between the contract's messages and the domain: events out and in, and an attachment as answers show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tradewind.chat.v1 import attachment_pb2 as pb

from services.chat.attachments import domain
from services.chat.wire import microseconds, timestamp

_EMPTY: Final[dict[Callable[[int], domain.Event], str]] = {
    domain.Kept: "kept",
    domain.Released: "released",
    domain.Condemned: "condemned",
    domain.Spared: "spared",
    domain.Deleted: "deleted",
    domain.Purged: "purged",
}
_EMPTY_BACK: Final[Mapping[str, Callable[[int], domain.Event]]] = {name: event for event, name in _EMPTY.items()}
_STATES: Final = {
    domain.State.UPLOADING: pb.ATTACHMENT_STATE_UPLOADING,
    domain.State.COMPLETE: pb.ATTACHMENT_STATE_COMPLETE,
}


def encode(event: domain.Event, version: int) -> bytes:
    """Give the public event message's bytes."""
    message = pb.AttachmentEvent(version=version, event_time=timestamp(event.at_us))
    if isinstance(event, domain.Created):
        message.created.owner_id = event.owner
        message.created.size_bytes = event.size
        message.created.declared_type = event.declared_type
        message.created.declared_sha256 = bytes.fromhex(event.declared_sha256)
    elif isinstance(event, domain.Completed):
        message.completed.sha256 = bytes.fromhex(event.sha256)
        message.completed.media_type = event.media_type
        message.completed.width = event.width
        message.completed.height = event.height
        message.completed.thumbnails.extend(event.thumbnails)
        message.completed.sealed = event.sealed
    else:
        getattr(message, _EMPTY[type(event)]).SetInParent()
    return message.SerializeToString(deterministic=True)


def decode(payload: bytes) -> domain.Event:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = pb.AttachmentEvent.FromString(payload)
    at_us, which = microseconds(message.event_time), message.WhichOneof("event")
    if which == "created":
        it = message.created
        return domain.Created(at_us, it.owner_id, it.size_bytes, it.declared_type, it.declared_sha256.hex())
    if which == "completed":
        done = message.completed
        measures = (done.width, done.height, tuple(done.thumbnails))
        return domain.Completed(at_us, done.sha256.hex(), done.media_type, *measures, done.sealed)
    if which is None:
        raise ValueError("an event of a kind that this release does not know")
    return _EMPTY_BACK[which](at_us)


def info(attachment_id: str, state: domain.Attachment, name: str, held: int) -> pb.AttachmentInfo:
    """Show an attachment that is there."""
    return pb.AttachmentInfo(
        attachment_id=attachment_id,
        owner_id=state.owner,
        name=name,
        state=_STATES[state.state],
        size_bytes=state.size,
        held_bytes=held,
        media_type=state.media_type,
        sha256=bytes.fromhex(state.sha256),
        width=state.width,
        height=state.height,
        thumbnails=state.thumbnails,
        create_time=timestamp(state.created_us),
    )
