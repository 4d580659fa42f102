"""What a process knows of the users that its streams watch, slot by slot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from nats.aio.subscription import Subscription

from services.chat.presence.slots import Key
from services.chat.presence.words import Seen, Told


class Listener(Protocol):
    """Who watches users."""

    def changed(self, key: Key) -> None:
        """Take note that a user is otherwise than before, or is known for the first time. Must neither wait nor raise."""


@dataclass(eq=False, slots=True)
class Watched:
    """A user that somebody watches; ``number`` is the slot's at which it was so."""

    seen: Seen | None = None
    number: int = 0
    listeners: set[Listener] = field(default_factory=set)

    def set(self, key: Key, seen: Seen) -> None:
        """Have it otherwise, and tell who listens; the same again changes nothing."""
        if self.seen != seen:
            self.seen = seen
            for listener in self.listeners:
                listener.changed(key)


@dataclass(eq=False, slots=True)
class View:
    """A slot that somebody watches users of. ``unasked``: whom its home was not asked for yet; ``stale``: ask for all.

    ``process`` and ``number``: whose last change was heard; ``behind``: the number that was heard of at the last beat.
    """

    slot: int
    people: dict[Key, Watched] = field(default_factory=dict)
    unasked: set[Key] = field(default_factory=set)
    stale: bool = True
    process: str = ""
    number: int = 0
    behind: int = 0
    failing_since: float | None = None
    subscription: Subscription | None = None

    def take(self, told: Told, *, later: bool) -> None:
        """Take states that the slot's home told; ``later``: as a change, which is passed over where it is known already."""
        for key, seen in told.people.items():
            watched = self.people.get(key)
            if watched is None or (told.number <= watched.number if later else told.number < watched.number):
                continue
            watched.number = told.number
            watched.set(key, seen)
