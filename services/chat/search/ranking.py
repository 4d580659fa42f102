"""The order of relevance: Okapi BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009), what is recent counts more.

It is computed from the messages that are ranked and from what may be read beside them, never from what the caller may not read: so
an order tells nothing of other people's conversations. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.chat.search.asked import Term
from services.chat.search.matching import stands

_K1: Final = 1.2
_B: Final = 0.75
_HALVES_US: Final = 30 * 86_400 * 1_000_000
"""What is new counts twice as much as what is old, and half of that advantage is gone after thirty days."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that matches: its place in time, its words."""

    id: int
    at_us: int
    words: Sequence[str]


def rarity(found: int, counted: int) -> float:
    """Weigh a term by in how many messages it stands; counted no further than ``counted``."""
    return math.log(1 + (counted - found + 0.5) / (found + 0.5))


def ranked(
    candidates: Sequence[Candidate], terms: Sequence[Term], rarities: Sequence[float], now_us: int
) -> list[tuple[float, int]]:
    """Give (score, id) of each, the best first, of equal ones the newest."""
    lengths = sum(len(each.words) for each in candidates)
    average = max(1.0, lengths / max(1, len(candidates)))
    scored = [(_score(each, terms, rarities, average) * _recency(each.at_us, now_us), each.id) for each in candidates]
    return sorted(scored, reverse=True)


def _score(candidate: Candidate, terms: Sequence[Term], rarities: Sequence[float], average: float) -> float:
    slowed = _K1 * (1 - _B + _B * len(candidate.words) / average)
    score = 0.0
    for term, rarity_ in zip(terms, rarities, strict=True):
        single = len(term.words) == 1 and not term.prefix
        count = candidate.words.count(term.words[0]) if single else stands(term, candidate.words)
        score += rarity_ * count * (_K1 + 1) / (count + slowed)
    return score


def _recency(at_us: int, now_us: int) -> float:
    return 1.0 + math.pow(2.0, -max(0, now_us - at_us) / _HALVES_US)
