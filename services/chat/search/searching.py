"""Finding in one file of the embedded index. Blocking; every question has a bound on what it looks at."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from services.chat.search.asked import Query
from services.chat.search.expression import MOST_IN_EXPRESSION, expression, term_expression
from services.chat.search.file import END_ID, IndexFile, id_of, time_of
from services.chat.search.index import MOST_RANKED, Hit, Hits, Order, PlaceUnknown
from services.chat.search.ranking import Candidate, ranked, rarity

MOST_LOOKED_AT: Final = 20_000
"""Messages that match but may be in other conversations: after so many an answer ends, and says where to go on."""
_FOUND: Final = """SELECT m.id, m.conversation, m.version FROM found JOIN messages m ON m.id = found.rowid
    WHERE found MATCH ? AND found.rowid >= ? AND found.rowid < ? ORDER BY found.rowid DESC"""
_WORDS: Final = "SELECT words FROM messages WHERE id = ?"
_COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM found WHERE found MATCH ? LIMIT ?)"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query in the file's own numbers."""

    tenant: int
    query: Query
    scope: dict[int, str]
    expression: str
    first_id: int
    end_id: int


def search(
    file: IndexFile, tenant: str, query: Query, conversations: Collection[str], order: Order, place: str, limit: int
) -> Hits:
    """See `Index.search`. Raises PlaceUnknown, sqlite3.Error."""
    end_us, after, last = _read(order, place)
    asked = _asked(file, tenant, query, conversations)
    if asked is None:
        return Hits((), "")
    if order is Order.NEWEST:
        return _newest(file, asked, last, limit)
    return _relevant(file, asked, end_us, after, last, limit)


def _read(order: Order, place: str) -> tuple[int, float, int]:
    """Read a place: up to which time is ranked, and the score and id of the last one."""
    if not place:
        return time.time_ns() // 1000, float("inf"), END_ID
    try:
        if order is Order.NEWEST:
            return 0, 0.0, _number(place)
        time_, score, rowid = place.split("_")
        return _number(time_), float.fromhex(score), _number(rowid)
    except (ValueError, OverflowError):
        raise PlaceUnknown(place) from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) >= 1 << 63:
        raise ValueError(text)
    return int(text)


def _asked(file: IndexFile, tenant_name: str, query: Query, conversations: Collection[str]) -> _Asked | None:
    """Turn names into numbers; None where nothing can be found."""
    tenant = file.tenant(tenant_name)
    if tenant is None:
        return None
    numbers = ((file.number("conversations", tenant, name), name) for name in conversations)
    scope = {number: name for number, name in numbers if number is not None}
    senders = [n for name in query.senders if (n := file.number("users", tenant, name)) is not None]
    excluded = [n for name in query.excluded_senders if (n := file.number("users", tenant, name)) is not None]
    if not scope or (query.senders and not senders):
        return None
    first = 0 if query.since_us is None else id_of(query.since_us)
    end = END_ID if query.until_us is None else id_of(query.until_us)
    return _Asked(tenant, query, scope, expression(tenant, query, tuple(scope), senders, excluded), first, end)


class _Matches:
    """What matches, the newest first, and how much was looked at."""

    def __init__(self, file: IndexFile, asked: _Asked, before: int) -> None:
        self._lines = file.connection.execute(_FOUND, (asked.expression, asked.first_id, min(asked.end_id, before)))
        self._scope = asked.scope
        self._looked_at = 0
        self.ended_at = 0

    def __iter__(self) -> Iterator[tuple[int, str, int]]:
        """Give (rowid, conversation, version); ``ended_at`` is where it broke off, 0 where it came to the end."""
        for rowid, conversation, version in self._lines:
            self._looked_at += 1
            name = self._scope.get(conversation)
            if name is not None:
                yield rowid, name, version
            if self._looked_at >= MOST_LOOKED_AT:
                self.ended_at = rowid
                return

    def close(self) -> None:
        self._lines.close()


def _newest(file: IndexFile, asked: _Asked, before: int, limit: int) -> Hits:
    hits: list[Hit] = []
    matches = _Matches(file, asked, before)
    try:
        for rowid, name, version in matches:
            if len(hits) == limit:
                return Hits(hits, hits[-1].place)
            hits.append(Hit(name, version, str(rowid)))
    finally:
        matches.close()
    return Hits(hits, str(matches.ended_at) if matches.ended_at else "")


def _relevant(file: IndexFile, asked: _Asked, now_us: int, after: float, last: int, limit: int) -> Hits:
    """Rank the newest that match and were there when the first page was asked for; they are ranked anew for each page."""
    names: dict[int, tuple[str, int]] = {}
    matches = _Matches(file, asked, id_of(now_us + 1))
    try:
        for rowid, name, version in matches:
            names[rowid] = name, version
            if len(names) == MOST_RANKED:
                break
    finally:
        matches.close()
    candidates = [
        Candidate(rowid, time_of(rowid), str(line[0]).split(" "))
        for rowid in names
        if (line := file.connection.execute(_WORDS, (rowid,)).fetchone()) is not None
    ]
    order = ranked(candidates, asked.query.terms, _rarities(file, asked), now_us)
    beyond = [(score, rowid) for score, rowid in order if (score, rowid) < (after, last)]
    hits = [Hit(*names[rowid], f"{now_us}_{score.hex()}_{rowid}") for score, rowid in beyond[:limit]]
    return Hits(hits, hits[-1].place if len(beyond) > limit else "")


def _rarities(file: IndexFile, asked: _Asked) -> list[float]:
    """Weigh the terms by how rare they are where is searched; as equal where there is one, or that is in too many conversations."""
    terms = asked.query.terms
    if len(terms) < 2 or len(asked.scope) > MOST_IN_EXPRESSION:
        return [1.0] * len(terms)
    found = []
    for term in terms:
        wanted = term_expression(asked.tenant, term, tuple(asked.scope))
        found.append(int(file.connection.execute(_COUNT, (wanted, MOST_RANKED)).fetchone()[0]))
    return [rarity(each, MOST_RANKED) for each in found]
