"""One user's place in one conversation: what it does there for itself alone, such as reading a channel.

It is an aggregate of its own, so that a channel may have readers without limit and nobody else's state grows with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.chat.domain.refusals import Refused

FOR_EVER: Final = -1
"""Until when notifications are muted, where that has no end."""


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


@dataclass(frozen=True, slots=True)
class Archive:
    """Put the conversation aside as it stands at a version of it; 0: take it back."""

    at_us: int
    actor: str
    version: int
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """Want no notifications until a time (µs since the Unix epoch, or FOR_EVER); 0: want them again.

    ``lifted``: a message brought the conversation back since it was put aside; muted only now, it is not put aside again.
    """

    at_us: int
    actor: str
    until_us: int
    acting_service: str = ""
    lifted: bool = False


@dataclass(frozen=True, slots=True)
class Hide:
    """Take the conversation out of the list as it stands at a version of it; 0: put it in again."""

    at_us: int
    actor: str
    version: int
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class Withheld:
    """What was refused before it came here: it is refused, unless it was done before under the same request id."""

    at_us: int
    refusal: Refused


PlaceCommand = JoinChannel | LeaveChannel | HideMessage | Archive | Silence | Hide | Withheld


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


@dataclass(frozen=True, slots=True)
class Archived:
    """The conversation was put aside at a version of it, or taken back (0)."""

    at_us: int
    actor: str
    acting_service: str
    version: int


@dataclass(frozen=True, slots=True)
class Silenced:
    """Notifications are muted until a time, or wanted again (0)."""

    at_us: int
    actor: str
    acting_service: str
    until_us: int


@dataclass(frozen=True, slots=True)
class Hidden:
    """The conversation was taken out of the list at a version of it, or put in again (0)."""

    at_us: int
    actor: str
    acting_service: str
    version: int


PlaceChange = ChannelJoined | ChannelLeft | MessageHidden | Archived | Silenced | Hidden


@dataclass(frozen=True, slots=True)
class Place:
    """What stands. ``created_us``: when the channel was made; 0 where the user never read it.

    ``archived``, ``hidden``: the conversation's version when it was put aside, or taken out of the list; 0 where it was not.
    ``muted_until_us``: until when there are no notifications; 0 where there are.
    """

    version: int = 0
    reads: bool = False
    created_us: int = 0
    archived: int = 0
    muted_until_us: int = 0
    hidden: int = 0


def initial() -> Place:
    """Give what stands where the user never did anything."""
    return _NOTHING


_NOTHING: Final = Place()


def decide(state: Place, command: PlaceCommand) -> Sequence[PlaceChange]:
    """Give the events that a command leads to; what is so already is no change. Raises Refused."""
    match command:
        case Withheld():
            raise command.refusal
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
        case Archive():
            if command.version == state.archived:
                return ()
            return (Archived(command.at_us, command.actor, command.acting_service, command.version),)
        case Silence():
            return _silence(state, command)
        case Hide():
            if command.version == state.hidden:
                return ()
            return (Hidden(command.at_us, command.actor, command.acting_service, command.version),)
    raise TypeError(f"no command of a place: {type(command).__name__}")


def _silence(state: Place, command: Silence) -> Sequence[PlaceChange]:
    if command.until_us == state.muted_until_us:
        return ()
    silenced = Silenced(command.at_us, command.actor, command.acting_service, command.until_us)
    if not (command.lifted and state.archived):
        return (silenced,)
    return (Archived(command.at_us, command.actor, command.acting_service, 0), silenced)


def evolve(state: Place, event: PlaceChange) -> Place:
    """Give the state after an event."""
    version = state.version + 1
    match event:
        case ChannelJoined():
            return replace(state, version=version, reads=True, created_us=event.created_us)
        case ChannelLeft():
            return replace(state, version=version, reads=False)
        case MessageHidden():
            return replace(state, version=version)
        case Archived():
            return replace(state, version=version, archived=event.version)
        case Silenced():
            return replace(state, version=version, muted_until_us=event.until_us)
        case Hidden():
            return replace(state, version=version, hidden=event.version)
    raise TypeError(f"no event of a place: {type(event).__name__}")
