"""What is asked, as an expression of SQLite's FTS5. It is put together from words as they are compared, numbers and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from services.chat.search.asked import Feature, Query, Term

BREAK: Final = "\uf8ff"
"""Stands between the texts of a message; no word has such a character."""
_OF: Final = "\u00b7"
MOST_IN_EXPRESSION: Final = 500
"""So many conversations are named in an expression; of more, what is found is told apart afterwards."""

FLAGS: Final = {
    Feature.ATTACHMENT: 1, Feature.CARD: 2, Feature.ORDER: 4, Feature.LINK: 8, Feature.REACTION: 16,
}  # fmt: skip


def flags_of(has: Iterable[Feature]) -> int:
    """Give features as one number."""
    return sum(FLAGS[each] for each in has)


def indexed_words(tenant: int, words: str) -> str:
    """Give words as they are indexed: each with its tenant's number, so that no tenant's words stand among another's."""
    return " ".join(f"{tenant}{_OF}{word}" for word in words.split(" ")) if words else ""


def facets(tenant: int, conversation: int, sender: int, flags: int) -> str:
    """Give what else is indexed of a message."""
    has = "".join(f" h{flag}" for flag in FLAGS.values() if flags & flag)
    return f"t{tenant} c{conversation} s{sender}{has}"


def expression(
    tenant: int, query: Query, scope: Sequence[int], senders: Sequence[int], excluded_senders: Sequence[int]
) -> str:
    """Give the expression that finds a query's messages in the conversations of ``scope`` (numbers), or anywhere if they are too many."""
    wanted = [_scope(tenant, scope)]
    if senders:
        wanted.append(_any("s", senders))
    wanted += [_any("h", [FLAGS[feature]]) for feature in sorted(query.has, key=FLAGS.__getitem__)]
    wanted += [_said(tenant, term) for term in query.terms]
    unwanted = [_said(tenant, term) for term in query.excluded]
    if excluded_senders:
        unwanted.append(_any("s", excluded_senders))
    unwanted += [_any("h", [FLAGS[feature]]) for feature in sorted(query.has_not, key=FLAGS.__getitem__)]
    found = f"({' AND '.join(wanted)})"
    return f"{found} NOT ({' OR '.join(unwanted)})" if unwanted else found


def term_expression(tenant: int, term: Term, scope: Sequence[int]) -> str:
    """Give the expression that finds one term in some conversations."""
    return f"{_scope(tenant, scope)} AND {_said(tenant, term)}"


def _scope(tenant: int, scope: Sequence[int]) -> str:
    return _any("c", scope) if len(scope) <= MOST_IN_EXPRESSION else _any("t", [tenant])


def _any(letter: str, numbers: Sequence[int]) -> str:
    return f"facets : ({' OR '.join(f'{letter}{number:d}' for number in numbers)})"


def _said(tenant: int, term: Term) -> str:
    assert not any('"' in word or " " in word for word in term.words)
    row = indexed_words(tenant, " ".join(term.words))
    return f'words : ("{row}"{" *" if term.prefix else ""})'
