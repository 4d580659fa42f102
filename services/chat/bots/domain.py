"""What users press on one service's cards, and what it answers: one dense list of events for each service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.chat.domain.refusals import Refused


@dataclass(frozen=True, slots=True)
class Press:
    """Press an action.

    ``words``: what was filled in, a content as log and store hold it, or nothing. ``refusal``: why it cannot be pressed, as was looked up;
    then it is refused, unless the request was done before.
    """

    at_us: int
    actor: str
    acting_service: str
    conversation_id: str
    message_version: int
    action_id: str
    words: bytes = b""
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer who pressed. ``is_press``: the version was looked up to be one of a press."""

    at_us: int
    actor: str
    press_version: int
    is_press: bool
    text: str
    attributes: Mapping[str, str] = field(default_factory=dict)


ActionCommand = Press | Answer


@dataclass(frozen=True, slots=True)
class Pressed:
    """A user pressed an action."""

    at_us: int
    actor: str
    acting_service: str
    conversation_id: str
    message_version: int
    action_id: str
    words: bytes = b""


@dataclass(frozen=True, slots=True)
class Answered:
    """The service answered."""

    at_us: int
    actor: str
    press_version: int
    text: str
    attributes: Mapping[str, str] = field(default_factory=dict)


ActionChange = Pressed | Answered


@dataclass(frozen=True, slots=True)
class Actions:
    """What stands: how many there are. All else is in the events."""

    version: int = 0


_NONE: Final = Actions()


def initial() -> Actions:
    """Give what stands where nothing was ever pressed."""
    return _NONE


def decide(_state: Actions, command: ActionCommand) -> Sequence[ActionChange]:
    """Give the events that a command leads to. Raises Refused (NO_SUCH_ACTION, and what a press cannot be for)."""
    if isinstance(command, Answer):
        if not command.is_press:
            raise no_such_action("this version is none of a press")
        return (Answered(command.at_us, command.actor, command.press_version, command.text, command.attributes),)
    if command.refusal is not None:
        raise command.refusal
    who = (command.at_us, command.actor, command.acting_service)
    where = (command.conversation_id, command.message_version, command.action_id)
    return (Pressed(*who, *where, command.words),)


def evolve(state: Actions, _event: ActionChange) -> Actions:
    """Give what stands after an event."""
    return Actions(state.version + 1)


def no_such_action(message: str) -> Refused:
    """Refuse a press of what is not there."""
    return Refused("NO_SUCH_ACTION", message)
