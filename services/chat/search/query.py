"""A query's text, read: words, "phrases", prefi*, -exclusions and operators. Bad ones are refused by the rule that they break.

Nothing of a query reaches an index but words as `words` gives them, ids and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from services.chat.domain import Refused
from services.chat.search.asked import LEAST_PREFIX, Feature, Query, Term
from services.chat.search.words import compared

MOST_TERMS: Final = 32
"""Words, phrases and operators of a query, those of its fields included."""
MOST_NAMES: Final = 16
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_MOST_USER: Final = 128
_OPERATORS: Final = ("from", "in", "before", "after", "has")
_PIECE: Final = re.compile(
    r'(?P<minus>-?)(?:(?P<operator>[a-z]+):)?(?:"(?P<phrase>[^"]*)"(?P<star>\*?)|(?P<word>[^\s"]*))'
)


@dataclass(slots=True)
class _Read:
    """What was read so far."""

    terms: list[Term] = field(default_factory=list)
    excluded: list[Term] = field(default_factory=list)
    senders: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    conversations: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    has: tuple[set[Feature], set[Feature]] = field(default_factory=lambda: (set(), set()))
    since_us: int | None = None
    until_us: int | None = None
    pieces: int = 0


def read(
    text: str,
    *,
    senders: Iterable[str] = (),
    conversations: Iterable[str] = (),
    has: Iterable[Feature] = (),
    phrases: Iterable[str] = (),
    excluded: Iterable[str] = (),
    since_us: int | None = None,
    until_us: int | None = None,
) -> Query:
    """Read a query's text, and add what the request's fields ask beside it: both must be true.

    Raises domain.Refused (INVALID_FIELD).
    """
    found = _Read(since_us=since_us, until_us=until_us)
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        place = _piece(found, text, place)
    from_, in_ = set(senders), set(conversations)
    found.has[0].update(has)
    found.terms += [_term(phrase, "phrases") for phrase in phrases]
    found.excluded += [_term(phrase, "excluded_phrases") for phrase in excluded]
    query = Query(
        tuple(dict.fromkeys(found.terms)), tuple(dict.fromkeys(found.excluded)),
        _both(found.senders[0], from_, "sender_ids"), frozenset(found.senders[1]),
        _both(found.conversations[0], in_, "conversation_ids"), frozenset(found.conversations[1]),
        frozenset(found.has[0]), frozenset(found.has[1]), found.since_us, found.until_us,
    )  # fmt: skip
    if found.pieces + len(from_) + len(in_) + len(found.has[0]) > MOST_TERMS or _terms(query) > MOST_TERMS:
        raise _bad(f"at most {MOST_TERMS} words, phrases and operators")
    if query == Query():
        raise _bad("there must be a word or an operator to look for")
    return query


def _terms(query: Query) -> int:
    return len(query.terms) + len(query.excluded)


def _both(asked: set[str], also: set[str], name: str) -> frozenset[str]:
    """Give the names that both the text and the field allow."""
    if not asked or not also:
        return frozenset(asked or also)
    if not asked & also:
        raise Refused("INVALID_FIELD", "the query's text and this field leave nobody and nothing in common", field=name)
    return frozenset(asked & also)


def _piece(found: _Read, text: str, place: int) -> int:
    """Read one word, phrase or operator; gives where the next begins."""
    match = _PIECE.match(text, place)
    assert match is not None  # it matches the empty text too
    operator = match["operator"]
    if operator is not None and operator not in _OPERATORS:
        # Some word with a colon in it, such as an address.
        match = re.compile(r'(?P<minus>-?)(?P<word>[^\s"]*)').match(text, place)
        assert match is not None
        operator = None
    end = match.end()
    groups = match.groupdict()
    phrase, word = groups.get("phrase"), groups.get("word")
    if phrase is None and end < len(text) and text[end] == '"' and not word:
        raise _bad('a " that opens a phrase must be closed')
    found.pieces += 1
    minus = bool(match["minus"])
    if operator is not None:
        _operate(found, operator, phrase if phrase is not None else word or "", minus=minus)
        return end
    if phrase is not None:
        term = _term(phrase, "query", prefix=bool(groups.get("star")))
    else:
        word = word or ""
        if not word:  # a sign of exclusion, and nothing after it
            return end
        term = _term(word.rstrip("*"), "query", prefix=word.endswith("*"))
    (found.excluded if minus else found.terms).append(term)
    return end


def _term(text: str, name: str, *, prefix: bool = False) -> Term:
    words = compared(text)
    if not words:
        raise Refused("INVALID_FIELD", "every word or phrase must have a letter, a digit or a symbol", field=name)
    if prefix and len(words[-1]) < LEAST_PREFIX and not _alone(words[-1]):
        raise Refused("INVALID_FIELD", f"at least {LEAST_PREFIX} characters must stand before a *", field=name)
    return Term(words, prefix and not _alone(words[-1]))


def _alone(word: str) -> bool:
    """Tell whether a word is a single character of a script or symbol that is no part of longer ones."""
    return len(word) == 1 and compared(f"{word}{word}") == (word, word)


def _operate(found: _Read, operator: str, value: str, *, minus: bool) -> None:
    if not value:
        raise _bad(f"{operator}: must be followed by what it asks for, without a space")
    if operator == "from":
        if len(value) > _MOST_USER:
            raise _bad(f"from: names a user of at most {_MOST_USER} characters")
        _name(found.senders[minus], value, operator)
    elif operator == "in":
        if not _ID.match(value):
            raise _bad("in: must name a conversation by its id")
        _name(found.conversations[minus], value, operator)
    elif operator == "has":
        try:
            found.has[minus].add(Feature(value.lower()))
        except ValueError:
            raise _bad(f"has: must be one of {', '.join(each.value for each in Feature)}") from None
    else:
        if minus:
            raise _bad(f"-{operator}: cannot be excluded: before: and after: are each other's opposite")
        at_us = _time(operator, value)
        if operator == "before":
            found.until_us = at_us if found.until_us is None else min(found.until_us, at_us)
        else:
            found.since_us = at_us if found.since_us is None else max(found.since_us, at_us)


def _name(names: set[str], value: str, operator: str) -> None:
    names.add(value)
    if len(names) > MOST_NAMES:
        raise _bad(f"at most {MOST_NAMES} times {operator}:")


def _time(operator: str, value: str) -> int:
    """Read a date, which is its beginning in UTC, or a time; one without a zone is in UTC."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise _bad(f"{operator}: must be a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    since_epoch = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds


def _bad(rule: str) -> Refused:
    return Refused("INVALID_FIELD", rule, field="query")
