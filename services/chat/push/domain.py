"""The rounds in which a conversation's members are told: when the next is due, and up to where the one under way tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class MakeDue:
    """A round is to be at a time, unless one is due that is no later."""

    at_us: int
    due_us: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Tell of what was said up to a version; a round that was begun already goes on as it is."""

    at_us: int
    upto: int


@dataclass(frozen=True, slots=True)
class End:
    """The round up to a version is over; one with nobody to tell need not have begun.

    ``next_us``: when there is more to do, 0: with the next message; ``failed``: not all were told.
    """

    at_us: int
    upto: int
    next_us: int
    failed: bool


Command = MakeDue | Begin | End


@dataclass(frozen=True, slots=True)
class Due:
    """A round is due at a time."""

    at_us: int
    due_us: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A round tells of what was said up to a version."""

    at_us: int
    upto: int


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over. ``failures``: how many in a row did not tell all."""

    at_us: int
    upto: int
    next_us: int
    failures: int


Event = Due | Begun | Ended


@dataclass(frozen=True, slots=True)
class Rounds:
    """What stands: when the next round is due (0: none is), up to where one under way tells (0: none is), how far the last one told."""

    version: int = 0
    due_us: int = 0
    upto: int = 0
    told: int = 0
    ended_us: int = 0
    failures: int = 0


_NOTHING: Final = Rounds()
TIMER: Final = "round"


def initial() -> Rounds:
    """Give what stands where nobody ever was to be told."""
    return _NOTHING


def decide(state: Rounds, command: Command) -> Sequence[Event]:
    """Give the events that a command leads to; what is so already is no change."""
    match command:
        case MakeDue():
            # One that is due already may have looked at the conversation: what is said now is for the next.
            stands = command.at_us < state.due_us <= command.due_us
            return () if stands else (Due(command.at_us, command.due_us),)
        case Begin():
            return () if state.upto else (Begun(command.at_us, command.upto),)
        case End():
            if state.upto not in (0, command.upto):
                return ()
            failures = state.failures + 1 if command.failed else 0
            return (Ended(command.at_us, command.upto, command.next_us, failures),)
    raise TypeError(f"no command of rounds: {type(command).__name__}")


def evolve(state: Rounds, event: Event) -> Rounds:
    """Give the state after an event."""
    version = state.version + 1
    match event:
        case Due():
            return replace(state, version=version, due_us=event.due_us)
        case Begun():
            return replace(state, version=version, upto=event.upto)
        case Ended():
            later = [due for due in (event.next_us, state.due_us) if due > event.at_us]
            told = state.told if event.failures else max(state.told, event.upto)
            return Rounds(version, min(later, default=0), 0, told, event.at_us, event.failures)
    raise TypeError(f"no event of rounds: {type(event).__name__}")


def timers(state: Rounds) -> Mapping[str, int]:
    """Give what the state waits for."""
    return {TIMER: state.due_us} if state.due_us else {}
