"""Whether a message is what was asked for, told from the message alone: what an index gives is checked by it, and tests compare with it.

Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from services.chat.search.asked import Feature, Query, Term
from services.chat.search.words import compared, words

MOST_HIGHLIGHTS: Final = 100
_LINK: Final = re.compile(r"https?://\S", re.IGNORECASE)


def has_link(text: str) -> bool:
    """Tell whether something in a text begins with http:// or https://."""
    return _LINK.search(text) is not None


@dataclass(frozen=True, slots=True)
class Sought:
    """A message as far as it is searched.

    Attributes:
        texts: its own text first, then those of its parts; a phrase stands in one of them.
        at_us: when it was sent, in microseconds since the Unix epoch.
    """

    conversation_id: str
    sender_id: str
    at_us: int
    texts: Sequence[str]
    has: frozenset[Feature]


def matches(query: Query, message: Sought) -> bool:
    """Tell whether all that is asked is true of a message."""
    return (
        (not query.senders or message.sender_id in query.senders)
        and message.sender_id not in query.excluded_senders
        and (not query.conversations or message.conversation_id in query.conversations)
        and message.conversation_id not in query.excluded_conversations
        and query.has <= message.has
        and query.has_not.isdisjoint(message.has)
        and (query.since_us is None or message.at_us >= query.since_us)
        and (query.until_us is None or message.at_us < query.until_us)
        and says(query, [compared(text) for text in message.texts])
    )


def says(query: Query, texts: Sequence[Sequence[str]]) -> bool:
    """Tell whether texts, as their words, say every term and none of the excluded ones."""
    return all(any(stands(term, text) for text in texts) for term in query.terms) and not any(
        stands(term, text) for term in query.excluded for text in texts
    )


def stands(term: Term, text: Sequence[str]) -> int:
    """Count where a term stands in a text's words."""
    return sum(1 for _ in _places(term, text))


def _places(term: Term, text: Sequence[str]) -> Iterable[int]:
    size = len(term.words)
    head, last = term.words[:-1], term.words[-1]
    for place in range(len(text) - size + 1):
        end = text[place + size - 1]
        if (end.startswith(last) if term.prefix else end == last) and tuple(text[place : place + size - 1]) == head:
            yield place


def highlights(query: Query, text: str) -> list[tuple[int, int]]:
    """Give where the terms stand in a text: (start, end) in code points, in order and apart from each other."""
    found = words(text)
    plain = [word.text for word in found]
    spans = sorted(
        (found[place].start, found[place + len(term.words) - 1].end)
        for term in query.terms
        for place in _places(term, plain)
    )
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged[:MOST_HIGHLIGHTS]
