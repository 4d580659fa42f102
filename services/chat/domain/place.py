"""One user's place in one conversation: what it does there for itself alone, such as reading a channel.

It is an aggregate of its own, so that a channel may have readers without limit and nobody else's state grows with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class JoinChannel:
    """Read a channel from now on. ``created_us``: when the channel was made."""

    at_us: int
    actor: str
    created_us: int
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class LeaveChannel:
    """Read it no more."""

    at_us: int
    actor: str
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class HideMessage:
    """See a message no more; ``sender`` had said it."""

    at_us: int
    actor: str
    version: int
    sender: str
    acting_service: str = ""


PlaceCommand = JoinChannel | LeaveChannel | HideMessage


@dataclass(frozen=True, slots=True)
class ChannelJoined:
    """The user reads the channel."""

    at_us: int
    actor: str
    acting_service: str
    created_us: int


@dataclass(frozen=True, slots=True)
class ChannelLeft:
    """The user reads it no more."""

    at_us: int
    actor: str
    acting_service: str


@dataclass(frozen=True, slots=True)
class MessageHidden:
    """The user sees a message no more."""

    at_us: int
    actor: str
    acting_service: str
    version: int
    sender: str


PlaceChange = ChannelJoined | ChannelLeft | MessageHidden


@dataclass(frozen=True, slots=True)
class Place:
    """What stands. ``created_us``: when the channel was made; 0 where the user never read it."""

    version: int = 0
    reads: bool = False
    created_us: int = 0


def initial() -> Place:
    """Give what stands where the user never did anything."""
    return _NOTHING


_NOTHING: Final = Place()


def decide(state: Place, command: PlaceCommand) -> Sequence[PlaceChange]:
    """Give the events that a command leads to; what is so already is no change."""
    match command:
        case JoinChannel():
            if state.reads:
                return ()
            return (ChannelJoined(command.at_us, command.actor, command.acting_service, command.created_us),)
        case LeaveChannel():
            return (ChannelLeft(command.at_us, command.actor, command.acting_service),) if state.reads else ()
        case HideMessage():
            # Hidden again is hidden still: the row of it is the same.
            return (
                MessageHidden(command.at_us, command.actor, command.acting_service, command.version, command.sender),
            )
    raise TypeError(f"no command of a place: {type(command).__name__}")


def evolve(state: Place, event: PlaceChange) -> Place:
    """Give the state after an event."""
    version = state.version + 1
    match event:
        case ChannelJoined():
            return Place(version, True, event.created_us)
        case ChannelLeft():
            return Place(version, False, state.created_us)
        case MessageHidden():
            return Place(version, state.reads, state.created_us)
    raise TypeError(f"no event of a place: {type(event).__name__}")
