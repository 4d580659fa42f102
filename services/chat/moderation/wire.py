"""Reports and standings between the contract's messages and the domain."""

from __future__ import annotations

import base64

from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import moderation_pb2 as pb

from services.chat.domain import not_found
from services.chat.moderation.domain import reports, standing
from services.chat.wire.numbers import microseconds, timestamp, until


def encode_standing(event: standing.StandingChange, version: int) -> bytes:
    """Give the event's bytes for log and store."""
    message = pb.StandingEvent(
        version=version, event_time=timestamp(event.at_us), actor_id=event.actor, acting_service=event.acting_service
    )
    if isinstance(event, standing.UserBanned):
        content = _content(base64.b64decode(event.words))
        message.banned.CopyFrom(pb.UserBanned(until=until(event.until_us), reason=event.reason, content=content))
    else:
        message.unbanned.SetInParent()
    return message.SerializeToString(deterministic=True)


def decode_standing(payload: bytes) -> standing.StandingChange:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = pb.StandingEvent.FromString(payload)
    who = (microseconds(message.event_time), message.actor_id, message.acting_service)
    which = message.WhichOneof("event")
    if which == "banned":
        ban = message.banned
        return standing.UserBanned(*who, microseconds(ban.until), ban.reason, _words(ban.content))
    if which == "unbanned":
        return standing.UserUnbanned(*who)
    raise ValueError("an event of a kind that this release does not know")


def banned_user(user_id: str, ban: standing.UserBanned) -> pb.BannedUser:
    """Show a ban to those who moderate, its reason as the store holds it."""
    return pb.BannedUser(
        user_id=user_id,
        until=until(ban.until_us),
        reason=ban.reason,
        actor_id=ban.actor,
        time=timestamp(ban.at_us),
        stored_reason=_content(base64.b64decode(ban.words)),
    )


def end_of(ban: Timestamp) -> int:
    """Give the end of a shown ban in microseconds; 0: it has none."""
    return microseconds(ban)


def time_of(event: pb.ReportEvent) -> int:
    """Give when an event happened, in microseconds since the Unix epoch."""
    return microseconds(event.event_time)


def encode_report(event: reports.ReportChange, version: int) -> bytes:
    """Give the event's bytes for log and store."""
    message = pb.ReportEvent(
        version=version, event_time=timestamp(event.at_us), actor_id=event.actor, acting_service=event.acting_service
    )
    if isinstance(event, reports.Reported):
        message.reported.CopyFrom(
            pb.MessageReported(
                reason=pb.ReportReason.ValueType(event.reason), content=_content(event.words), sender_id=event.sender
            )
        )
    else:
        resolution = pb.ReportResolution.ValueType(event.resolution)
        message.resolved.CopyFrom(
            pb.ReportResolved(
                resolution=resolution,
                note=event.note,
                until=until(event.until_us),
                content=_content(base64.b64decode(event.words)),
            )
        )
    return message.SerializeToString(deterministic=True)


def decode_report(payload: bytes) -> reports.ReportChange:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = pb.ReportEvent.FromString(payload)
    who = (microseconds(message.event_time), message.actor_id, message.acting_service)
    which = message.WhichOneof("event")
    if which == "reported":
        said = message.reported
        words = said.content.SerializeToString(deterministic=True)
        return reports.Reported(*who, said.reason, words, said.sender_id)
    if which == "resolved":
        done = message.resolved
        resolution = reports.Resolution(done.resolution)
        return reports.Resolved(*who, resolution, done.note, microseconds(done.until), _words(done.content))
    raise ValueError("an event of a kind that this release does not know")


def _words(content: chat_pb2.MessageContent) -> str:
    return base64.b64encode(content.SerializeToString(deterministic=True)).decode()


def _content(words: bytes) -> chat_pb2.MessageContent | None:
    return chat_pb2.MessageContent.FromString(words) if words else None


def reported(report_id: str, state: reports.Reports) -> pb.ReportedMessage:
    """Show the reports of a message as they stand, what was noted as the store holds it.

    Raises domain.Refused (NOT_FOUND) where there are none.
    """
    if not state.reporters:
        raise not_found()
    conversation_id, _, version = report_id.rpartition("/")
    shown = pb.ReportedMessage(
        conversation_id=conversation_id,
        message_version=int(version),
        sender_id=state.sender,
        report_count=state.count,
        report_time=timestamp(state.opened_us),
    )
    for reason, count in sorted(state.reasons.items()):
        shown.reasons.add(reason=pb.ReportReason.ValueType(reason), count=count)
    if state.resolved is not None:
        shown.resolution = pb.ReportResolution.ValueType(state.resolved.resolution)
        shown.resolver_id = state.resolved.actor
        shown.resolve_time.CopyFrom(timestamp(state.resolved.at_us))
        shown.note = state.resolved.note
        content = _content(base64.b64decode(state.resolved.words))
        if content is not None:
            shown.stored_note.CopyFrom(content)
    return shown
