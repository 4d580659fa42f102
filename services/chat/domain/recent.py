"""What changed of messages lately: how often one was edited, whether it was deleted, how many its thread has.

Any message may change, however old, and there may be a hundred million of them; so the state remembers the latest few hundred changes,
and up to where it has forgotten. A decision about a message asks here first. What is not here was last changed at or before ``floor``:
then what was looked up outside, in rows that are written with the events, is as true, if it was looked up at ``floor`` or later. Else it
is stale: look it up again and decide again.

Two generations: the young one takes what is new, and when it is full becomes the old one, whose place it takes. So a change copies
at most the young one, and forgetting costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.chat.domain.commands import Known

_YOUNG: Final = 256


class Stale(Exception):
    """What was looked up may have changed since; look it up again. ``reason``, should it come so far: many change the same at once."""

    reason = "CONTENTION"

    def __init__(self, name: str) -> None:
        """Miss a fact."""
        super().__init__("what was looked up changed meanwhile; try again")
        self.name = name


@dataclass(frozen=True, slots=True)
class Recent:
    """Facts by name, in two generations. What is in neither was last changed at or before version ``floor``.

    ``turned``: the version at which the old one was young last.
    """

    young: dict[str, int]
    old: dict[str, int]
    floor: int
    turned: int


NOTHING_RECENT: Final = Recent({}, {}, 0, 0)


def noted(recent: Recent, facts: Mapping[str, int], version: int) -> Recent:
    """Give what is recent after an event changed some facts."""
    if not facts:
        return recent
    young = {**recent.young, **facts}
    if len(young) < _YOUNG:
        return Recent(young, recent.old, recent.floor, recent.turned)
    return Recent({}, young, recent.turned, version)


def fact(recent: Recent, name: str, known: Known) -> int:
    """Give a fact. Raises Stale where neither the state nor what was looked up can say."""
    value = recent.young.get(name)
    if value is None:
        value = recent.old.get(name)
    if value is not None:
        return value
    if recent.floor == 0:
        return 0  # nothing was ever forgotten, so it never changed
    if known.at_version < recent.floor or name not in known.facts:
        raise Stale(name)
    return known.facts[name]


def edits(version: int) -> str:
    """Name the fact how often a message was edited."""
    return f"e{version}"


def deleted(version: int) -> str:
    """Name the fact whether a message was deleted: 1, or 0."""
    return f"d{version}"


def given(version: int, emoji: str) -> str:
    """Name the fact how many give a message an emoji."""
    return f"r{version}/{emoji}"


def gives(version: int, emoji: str, user_id: str) -> str:
    """Name the fact whether a user gives a message an emoji: 1, or 0."""
    return f"u{version}/{emoji}/{user_id}"


def emojis(version: int) -> str:
    """Name the fact how many different emojis a message has."""
    return f"k{version}"


def replies(version: int) -> str:
    """Name the fact how many messages a message's thread has."""
    return f"t{version}"
