"""A person, as far as privacy goes: what is decided about erasing one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErasePerson:
    """Destroy these keys of a person."""

    at_us: int
    actor: str
    key_ids: tuple[str, ...]
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class PersonErased:
    """They were destroyed."""

    at_us: int
    actor: str
    acting_service: str
    key_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """What stands. ``erased_us``: when it was erased last, 0 where it never was."""

    version: int = 0
    erased_us: int = 0


def initial() -> Person:
    """Give what stands of somebody who was never erased."""
    return _NOTHING


_NOTHING = Person()


def decide(_state: Person, command: ErasePerson) -> Sequence[PersonErased]:
    """Give the event that a command leads to. One who was erased may be again: with what was said since."""
    return (PersonErased(command.at_us, command.actor, command.acting_service, command.key_ids),)


def evolve(state: Person, event: PersonErased) -> Person:
    """Give the state after an event."""
    return Person(state.version + 1, event.at_us)
