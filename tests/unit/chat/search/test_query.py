"""Queries as they are typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chat.domain import Refused
from services.chat.search import query
from services.chat.search.asked import Feature, Query, Term
from services.chat.search.matching import Sought, highlights, matches

TEA = Term(("tea",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tea", Query((TEA,))),
        ("tea TEA", Query((TEA,))),
        ('"green tea" mil*', Query((Term(("green", "tea")), Term(("mil",), prefix=True)))),
        ("-tea from:ann -from:bob", Query((), (TEA,), frozenset({"ann"}), frozenset({"bob"}))),
        ('from:"ann smith" from:bob', Query(senders=frozenset({"ann smith", "bob"}))),
        ("in:a-1 -in:b", Query(conversations=frozenset({"a-1"}), excluded_conversations=frozenset({"b"}))),
        ("has:link -has:CARD", Query(has=frozenset({Feature.LINK}), has_not=frozenset({Feature.CARD}))),
        ("after:1970-01-02", Query(since_us=86_400_000_000)),
        ("before:1970-01-01T01:00:00+01:00 before:2000-01-01", Query(until_us=0)),
        ("http://tea", Query((Term(("http", "tea")),))),
        ("東京*", Query((Term(("東", "京")),))),
        ("a:tea", Query((Term(("a", "tea")),))),
    ],
)
def test_queries_are_read(text: str, expected: Query) -> None:
    assert query.read(text) == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "there must be a word"),
        ("from:", "must be followed"),
        ("has:wings", "must be one of attachment, card, order, link, reaction"),
        ("before:noon", "must be a date"),
        ("-after:2020-01-01", "cannot be excluded"),
        ('say "hi', "must be closed"),
        ("te*", "at least 3 characters"),
        ("!!", "a letter, a digit or a symbol"),
        ("in:a/b", "by its id"),
        ("from:" + "x" * 129, "at most 128"),
        (" ".join(f"from:u{n}" for n in range(17)), "at most 16 times"),
        (" ".join(f"w{n}" for n in range(33)), "at most 32"),
    ],
)
def test_what_is_wrong_is_said(text: str, rule: str) -> None:
    with pytest.raises(Refused, match=rule) as refused:
        query.read(text)
    assert (refused.value.reason, refused.value.field) == ("INVALID_FIELD", "query")


def test_fields_and_text_must_both_be_true() -> None:
    both = query.read("from:ann from:bob tea", senders=["bob", "cy"], phrases=["a b"], has=[Feature.CARD], since_us=5)
    assert both == Query((TEA, Term(("a", "b"))), senders=frozenset({"bob"}), has=frozenset({Feature.CARD}), since_us=5)
    with pytest.raises(Refused) as refused:
        query.read("in:a", conversations=["b"])
    assert refused.value.field == "conversation_ids"


@given(st.text(max_size=80) | st.text(alphabet='abc:"-* fromhas東👍', max_size=40))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    try:
        asked = query.read(text)
    except Refused as refused:
        assert refused.reason == "INVALID_FIELD"
        return
    assert asked != Query()
    for term in (*asked.terms, *asked.excluded):
        assert term.words
        assert not any(set(word) & set('"*:() ^') for word in term.words)


def test_highlights_are_apart_and_in_code_points() -> None:
    asked = query.read('"green tea" tea* 東京 👍')
    text = "👍🏽 Green\nTEA, teapot 大東京"
    found = [text[start:end] for start, end in highlights(asked, text)]
    assert found == ["👍🏽", "Green\nTEA", "teapot", "東京"] or found == ["👍", "Green\nTEA", "teapot", "東京"]


def test_a_phrase_stands_in_one_text() -> None:
    apart = Sought("c", "ann", 0, ["green", "tea"], frozenset())
    assert not matches(query.read('"green tea"'), apart)
    assert matches(query.read("green tea"), apart)
