"""What is looked for, as plain values. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LEAST_PREFIX = 3


class Feature(Enum):
    """What a message can have beside words; the value is the operator's word."""

    ATTACHMENT = "attachment"
    CARD = "card"
    ORDER = "order"
    LINK = "link"
    REACTION = "reaction"


@dataclass(frozen=True, slots=True)
class Term:
    """Words in a row, as they are compared; with ``prefix`` the last of them may go on."""

    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """All of it must be true of a message; of ``senders`` and ``conversations`` one, where there are any.

    Attributes:
        since_us: the earliest time, in microseconds since the Unix epoch; None: no bound.
        until_us: the first time that is too late; None: no bound.
    """

    terms: tuple[Term, ...] = ()
    excluded: tuple[Term, ...] = ()
    senders: frozenset[str] = frozenset()
    excluded_senders: frozenset[str] = frozenset()
    conversations: frozenset[str] = frozenset()
    excluded_conversations: frozenset[str] = frozenset()
    has: frozenset[Feature] = frozenset()
    has_not: frozenset[Feature] = frozenset()
    since_us: int | None = None
    until_us: int | None = None
