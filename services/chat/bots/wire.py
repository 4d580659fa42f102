"""What is pressed and answered, between the contract's messages and the domain."""

from __future__ import annotations

from tradewind.chat.v1 import bot_service_pb2 as pb
from tradewind.chat.v1 import chat_pb2

from services.chat.bots import domain
from services.chat.wire.numbers import microseconds, timestamp


def encode(event: domain.ActionChange, version: int) -> bytes:
    """Give the event's bytes for log and store."""
    message = pb.ActionEvent(version=version, event_time=timestamp(event.at_us), actor_id=event.actor)
    if isinstance(event, domain.Pressed):
        message.acting_service = event.acting_service
        message.pressed.CopyFrom(
            pb.ActionPressed(
                conversation_id=event.conversation_id,
                message_version=event.message_version,
                action_id=event.action_id,
                content=chat_pb2.MessageContent.FromString(event.words) if event.words else None,
            )
        )
    else:
        message.answered.CopyFrom(
            pb.ActionAnswered(press_version=event.press_version, text=event.text, attributes=event.attributes)
        )
    return message.SerializeToString(deterministic=True)


def decode(payload: bytes) -> domain.ActionChange:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = pb.ActionEvent.FromString(payload)
    at_us, actor = microseconds(message.event_time), message.actor_id
    which = message.WhichOneof("event")
    if which == "pressed":
        said = message.pressed
        where = (said.conversation_id, said.message_version, said.action_id)
        words = said.content.SerializeToString(deterministic=True)
        return domain.Pressed(at_us, actor, message.acting_service, *where, words)
    if which == "answered":
        told = message.answered
        return domain.Answered(at_us, actor, told.press_version, told.text, dict(told.attributes))
    raise ValueError("an event of a kind that this release does not know")


def answer(event: domain.Answered) -> pb.ActionAnswer:
    """Show an answer to who pressed."""
    return pb.ActionAnswer(text=event.text, attributes=event.attributes, time=timestamp(event.at_us))
