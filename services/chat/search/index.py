"""The port to the index: what search asks of the embedded one, or of a cluster's engine.

An index is a function of a prefix of the log: what it is told comes in order a conversation, with the place up to which it is true, and may
come again from any earlier place on; then it changes nothing. It need not be exact, as everything it finds is looked up
and checked before it is answered, but what it leaves out is not found. One contract suite runs on every adapter:
`tests/contract/test_search_index.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from services.chat.search.asked import Feature, Query

MOST_RANKED: Final = 2000
"""So many of the newest messages that match are put in order of relevance."""


@dataclass(frozen=True, slots=True)
class Name:
    """Names a message: no other ever has the same name."""

    tenant: str
    conversation_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Said:
    """A message was said.

    Attributes:
        at_us: when, in microseconds since the Unix epoch.
        texts: its own text first, then those of its parts; no phrase runs from one into the next.
        has: without `Feature.REACTION`.
        author_id: who said it first, where it was forwarded: it is forgotten with either.
    """

    name: Name
    sender_id: str
    at_us: int
    texts: Sequence[str]
    has: frozenset[Feature] = frozenset()
    author_id: str = ""


@dataclass(frozen=True, slots=True)
class Reworded:
    """A message says something else since version `revision` of its conversation."""

    name: Name
    revision: int
    texts: Sequence[str]
    has: frozenset[Feature] = frozenset()


@dataclass(frozen=True, slots=True)
class Removed:
    """A message is no more, for everybody and for ever."""

    name: Name


@dataclass(frozen=True, slots=True)
class Reacted:
    """Since version `revision` of its conversation a message has an emoji, or has none."""

    name: Name
    revision: int
    any: bool


Change = Said | Reworded | Removed | Reacted


@dataclass(frozen=True, slots=True)
class Position:
    """Everything of a partition of the log at or below a sequence is in the index."""

    partition: int
    seq: int


class Order(Enum):
    """Of what is found."""

    RELEVANCE = "relevance"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that may be one of those asked for, and where the order goes on after it (the adapter alone can read that; ASCII)."""

    conversation_id: str
    version: int
    place: str


@dataclass(frozen=True, slots=True)
class Hits:
    """Some of them, in order, and where to go on; empty at the end. There may be a place to go on after no hit at all."""

    hits: Sequence[Hit]
    place: str


class PlaceUnknown(ValueError):
    """What was given is no place of this order."""


class Replaced(Exception):
    """Another index took the place of the one that was begun with: begin again, from its positions."""


class Index(Protocol):
    """An index of messages. Every method raises `services.ledger.errors.StoreUnavailable` where it cannot be done now."""

    async def begin(self, source: str, partitions: int) -> Sequence[int]:
        """Begin to follow a log, and tell up to which sequence the index is true in each of its partitions; 0 where it is empty.

        `source`: names the store whose log it is. What was made of another one, or in other partitions, is forgotten first.
        """

    async def put(self, changes: Sequence[Change], position: Position | None = None) -> None:
        """Take changes in, and with them, in one step, the place up to which the index is then true.

        Raises:
            Replaced: nothing was taken in.
        """

    async def search(
        self, tenant: str, query: Query, conversations: Collection[str], order: Order, *, place: str, limit: int
    ) -> Hits:
        """Find messages of some conversations, from a place on that an earlier answer gave ("": from the first).

        What an answer costs is bounded, whatever is asked. How messages are ranked depends on nothing outside these conversations.
        `query.conversations` and `query.excluded_conversations` are the caller's affair.

        Raises:
            PlaceUnknown: the place is none of this order.
        """

    async def remove_person(self, tenant: str, user_id: str) -> int:
        """Forget what a user said, also where others forwarded it, for good.

        Nothing of it can be read out of what the index keeps, and what comes again is not taken. What the index has not been told yet comes
        without words, once the person is erased (`services.chat.contents`). Gives how many messages were forgotten; it may be asked
        again, and by several processes.
        """

    async def clear(self) -> None:
        """Forget everything, places too."""

    async def close(self) -> None:
        """Let go of it."""
